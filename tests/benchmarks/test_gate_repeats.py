"""Checks that are resampled from pools of weight draws, the pools themselves, and the stored tables."""

from pathlib import Path

import gate_pools
import gate_repeats
import numpy as np
import pytest
from click.testing import CliRunner
from gate_parts import pools, real, synthetic
from gate_parts.pools import CORRECT, DEPTHS, Pool
from gate_parts.subjects import subjects

from ammup.gate.allowed import Allowed

ALLOWED = Allowed(expected=None, margin=0.3)


def _pool(slope: float, *, scatter: float = 0.5, factor: float = 1.0, size: int = 300, seed: int = 0) -> Pool:
    """Log-normal draws whose η* is a power of the depth."""
    logs = scatter * np.random.default_rng(seed).standard_normal((size, len(DEPTHS)))
    S_bar = factor * np.exp(logs) * np.array(DEPTHS) ** (-2.0 * slope)
    return Pool(S_bar=S_bar, units={depth: depth for depth in DEPTHS}, seconds=0.1)


@pytest.mark.usefixtures("unchecked")
def test_a_measured_pool_decides_as_real_checks_with_the_same_seeds(tmp_path: Path) -> None:
    """The recording, the correct model, and two faults, one of which has another number of units."""
    name, chosen = "mlp (causes)", (CORRECT, "one layer too few", "readout too small")
    subject = subjects()[name]
    subject = synthetic_subject(subject, chosen)
    path = tmp_path / "pool.jsonl"
    pools.measure(path, {name: subject}, [(96, 96)], minutes=10)
    lines = path.read_text().splitlines()
    assert len(lines) == 3 * 3  # blocks of 32 draws
    path.write_text("\n".join(lines[:-2]) + "\n")
    pools.measure(path, {name: subject}, [(96, 96)], minutes=10)  # continues
    pools.pack(pools.pooled(pools.read(path)), tmp_path / "gate.npz")
    variants = pools.unpack(tmp_path / "gate.npz")[name]
    assert {variant: pool.size for variant, pool in variants.items()} == dict.fromkeys(chosen, 96)
    rows = list(real.compared(name, subject, variants, ALLOWED))
    assert [row["check"] for row in rows] == ["recording", *chosen]
    for row in rows:
        assert row["real"] == row["synthetic"]
        for numbers in (row["draws"], row["slope"]):
            found, expected = numbers.split(", ")
            assert found == expected
    assert [row["real"] for row in rows[:2]] == ["holds", "holds"]


def synthetic_subject(subject: pools.Subject, chosen: tuple[str, ...]) -> pools.Subject:
    """The subject with some of its faults."""
    faults = {name: net for name, net in subject.faults.items() if name in chosen}
    return type(subject)(net=subject.net, faults=faults, batch=subject.batch)


def test_unchanged_draws_hold_and_changed_ones_are_caught() -> None:
    correct = _pool(-1.0)
    checks = [check for _, check in synthetic.correct_checks(correct, ALLOWED, 40, seed=0)]
    assert [check.outcome for check in checks].count("holds") >= 38
    variants = {
        CORRECT: correct,
        "steeper": _pool(-2.0),
        "factor": _pool(-1.0, factor=4.0),
        "the same": _pool(-1.0),
        "other draws": _pool(-1.0, seed=1),
    }
    outcomes = {
        fault: list(synthetic.fault_checks(variants, fault, ALLOWED, 5, seed=0))
        for fault in variants
        if fault != CORRECT
    }
    assert {o.outcome for pair in outcomes["steeper"] for o in pair} == {"does not hold"}
    assert {o.outcome for pair in outcomes["factor"] for o in pair} == {"moved"}
    assert {same.outcome for same, _ in outcomes["the same"]} == {"holds"}
    assert "holds" in {same.outcome for same, _ in outcomes["other draws"]}


def test_draws_that_cannot_be_measured_are_invalid_input() -> None:
    broken = Pool(S_bar=np.empty((0, 3)), units={}, seconds=1.0, error="S_bar is infinite")
    variants = {CORRECT: _pool(-1.0), "broken": broken}
    ((same, other),) = synthetic.fault_checks(variants, "broken", ALLOWED, 1, seed=0)
    assert same.outcome == other.outcome == "invalid input"


def test_the_baseline_and_the_check_have_no_draw_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[set[int]] = []
    curve = synthetic.Rows.curve

    def spied(rows: synthetic.Rows, seeds: range, level: float) -> object:
        first = rows.root * 1_000_000
        used.append(set(rows.order[: seeds.stop - first].tolist()))
        return curve(rows, seeds, level)

    monkeypatch.setattr(synthetic.Rows, "curve", spied)
    next(synthetic.correct_checks(_pool(-1.0), ALLOWED, 1, seed=0))
    assert len(used[0]) == 8
    assert not used[-1] & set().union(*used[:2])


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0, 0.0362), (5, 0.0164, 0.1128), (100, 0.9638, 1)])
def test_the_bounds_are_those_of_clopper_and_pearson(count: int, low: float, high: float) -> None:
    assert gate_repeats.bounds(count, 100) == pytest.approx((low, high), abs=1e-4)


def test_the_tables_of_the_stored_pools_state_every_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(gate_repeats.main, ["--checks", "2", "--faulty", "1"])
    assert result.exit_code == 0, result.output
    stored = pools.unpack(gate_repeats.POOLS)
    assert set(stored) == set(subjects())
    for name, variants in stored.items():
        assert f"| {name} " in result.output
        assert set(variants) == {CORRECT, *subjects()[name].faults}
    help_text = CliRunner().invoke(gate_pools.main, ["--help"])
    assert "--records" in help_text.output
