"""`ammup claims` and `ammup baselines` as a user types them, on baselines in a temporary folder."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from command_line import assert_refused, run

from ammup.claims import baselines
from ammup.claims.claim import KEY_VERSION, claim_named
from ammup.claims.ledger import measure
from ammup.claims.record import ClaimRecord
from ammup.claims.statements import CLAIMS
from ammup.cli import cli
from ammup.stats.equivalence import Region
from ammup.validation import validated

IDENTITY, CONSTANT = "overlap.sum-identity", "appendix-e.relu-constant"
CHEAP = [claim_named(CLAIMS, name) for name in (CONSTANT, IDENTITY)]


_run = partial(run, columns=240)  # wide enough that no table row wraps


def _git(where: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _commit(folder: Path) -> str:
    _git(folder.parent, "add", "--all")
    _git(folder.parent, "commit", "--quiet", "--allow-empty", "--message", "a commit")
    return _git(folder.parent, "rev-parse", "HEAD")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with up-to-date baselines of the cheap claims."""
    folder = tmp_path / "repository" / "baselines"
    monkeypatch.setattr(baselines, "folder", lambda: folder)
    folder.mkdir(parents=True)
    for comparison in measure(CHEAP):
        baselines.write([comparison.new], comparison.id.partition(".")[0])
    return folder


@pytest.fixture
def checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, committed to a git repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name == "CI" or name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    _git(folder.parent, "init", "--quiet")
    _commit(folder)
    return folder


def _tamper(folder: Path, name: str, **changed) -> None:
    record = validated(ClaimRecord, baselines.read()[name].to_dict() | changed)
    baselines.write([record], name.partition(".")[0])


# ammup claims

STARTED = "ammup claims: loading PyTorch and the claims"  # progress, on standard error


def test_claims_prints_the_ledger_of_the_stored_baselines(folder: Path) -> None:
    _tamper(folder, IDENTITY, estimate=0.25, verdict="inconclusive")
    result = _run("claims")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if IDENTITY in line]
    assert "0.250" in line
    assert "inconclusive" in line
    assert CONSTANT in result.stdout
    assert "2 claims: 1 holds, 1 inconclusive." in result.stdout
    assert result.stderr == ""


def test_claims_shows_one_claim_in_full(folder: Path) -> None:
    result = _run("claims", "--id", IDENTITY)
    assert result.exit_code == 0
    assert result.stdout.startswith(IDENTITY)
    assert "Σ min{h1, h2} over h1, h2 <= l is l(l+1)(2l+1)/6" in result.stdout
    assert f"ammup claims --measure --id {IDENTITY}" in result.stdout
    assert CONSTANT not in result.stdout


def test_json_contains_the_stored_records(folder: Path) -> None:
    assert json.loads(_run("claims", "--json").stdout) == [record.to_dict() for record in baselines.read().values()]
    assert json.loads(_run("claims", "--json", "--id", IDENTITY).stdout) == [baselines.read()[IDENTITY].to_dict()]


def test_an_unknown_claim_is_a_one_line_error_with_the_nearest_names(folder: Path) -> None:
    assert_refused(
        _run("claims", "--id", "overlap"),
        IDENTITY,
    )
    assert_refused(_run("claims", "--id", "overlap", "--json"), "claim 'overlap'")
    assert_refused(
        _run("claims", "--id", "overlap", "--measure"),
        "overlap.growth",
    )


def test_without_baselines_the_ledger_is_empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    assert_refused(_run("claims", "--id", IDENTITY), f"claim {IDENTITY!r}")
    assert json.loads(_run("claims", "--json").stdout) == []
    assert "0 claims" in _run("claims").stdout


def test_a_damaged_baseline_file_is_a_one_line_error(folder: Path) -> None:
    (folder / "overlap.json").write_text("{")
    assert_refused(_run("claims"), str(folder / "overlap.json"))


@pytest.mark.parametrize("as_json", [True, False])
def test_measuring_again_has_exit_code_0_if_nothing_changed(as_json: bool, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = _run("claims", "--measure", "--id", IDENTITY, *["--json"] * as_json)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == ([] if as_json else [STARTED])
    assert IDENTITY in result.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("changed", "problem"),
    [({"verdict": "does not hold"}, "verdict 'does not hold' became 'holds'"),
     ({"key": f"{KEY_VERSION}-another"}, "the claim was defined differently")],
)  # fmt: skip
def test_measuring_again_has_exit_code_1_and_names_what_changed(
    as_json: bool, changed: dict, problem: str, folder: Path
) -> None:
    _tamper(folder, IDENTITY, **changed)
    result = _run("claims", "--measure", "--id", IDENTITY, *["--json"] * as_json)
    assert result.exit_code == 1
    *started, line = result.stderr.splitlines()
    assert started == ([] if as_json else [STARTED])
    assert line.startswith(f"{IDENTITY}: {problem}")
    if as_json:
        (record,) = json.loads(result.stdout)
        assert (record["estimate"], record["verdict"]) == (0.0, "holds")  # the new values, not the stored ones
    else:
        assert result.stdout.startswith(IDENTITY)


@pytest.mark.parametrize(
    ("low", "tampered", "problem"),
    [(-1.0, {}, ""), (-1.0, {"estimate": 0.5}, "0.5 became "), (0.0, {}, "inconclusive after 2 looks: ")],
)
def test_a_changed_random_estimate_or_an_inconclusive_claim_has_exit_code_1(
    low: float, tampered: dict, problem: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = replace(
        CHEAP[1],
        exact=False,
        rows=lambda seeds: np.array([[0.1 * (-1) ** seed] for seed in seeds]),
        statistic=lambda rows: float(rows.mean()),
        stated=Region(low=low, high=1.0),
        n=20,
    )
    monkeypatch.setattr("ammup.claims.statements.CLAIMS", (claim,))
    (comparison,) = measure([claim])
    baselines.write([validated(ClaimRecord, comparison.new.to_dict() | tampered)], "overlap")
    result = _run("claims", "--measure", "--id", IDENTITY)
    assert result.exit_code == bool(problem)
    started, *lines = result.stderr.splitlines()
    assert started == STARTED
    assert len(lines) == bool(problem)
    assert all(line.startswith(f"{IDENTITY}: {problem}") for line in lines)


def test_measuring_a_claim_without_a_baseline_has_exit_code_1(folder: Path) -> None:
    (folder / "overlap.json").unlink()
    result = _run("claims", "--measure", "--id", IDENTITY)
    assert result.exit_code == 1
    assert f"{IDENTITY}: there is no baseline" in result.stderr


def test_the_seed_root_is_passed_to_the_measurement(folder: Path) -> None:
    arguments = ["claims", "--measure", "--id", "means.a1-geometric", "--json"]
    records = [json.loads(_run(*arguments, "--seed-root", root).stdout)[0] for root in ("0", "3")]
    assert [record["root"] for record in records] == [0, 3]
    assert records[0]["estimate"] != records[1]["estimate"]
    assert_refused(_run("claims", "--seed-root", "-1"), "-1 is not in the range")
    assert_refused(_run("claims", "--seed-root", "3"), "--measure")


def test_all_claims_are_measured_without_an_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ammup.claims.statements.CLAIMS", tuple(CHEAP))
    result = _run("claims", "--measure", "--json")
    assert result.exit_code == 0, result.stderr
    assert [record["id"] for record in json.loads(result.stdout)] == [CONSTANT, IDENTITY]


# ammup baselines update


def _update(*arguments: str) -> Result:
    return _run("baselines", "update", "--reason", "a test", "--id", IDENTITY, *arguments)


def test_an_update_prints_old_and_new_values_and_stores_the_reason(checkout: Path) -> None:
    _tamper(checkout, IDENTITY, estimate=0.5, key=f"{KEY_VERSION}-another")
    _commit(checkout)
    result = _update("--id", CONSTANT)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{IDENTITY}: 0.5 (holds) → 0 (holds)  written",
        f"{CONSTANT}: 0.5 (holds) → 0.5 (holds)  unchanged",
    ]
    assert baselines.read()[IDENTITY].estimate == 0
    assert [record.reason for record in baselines.read().values()] == ["", "a test"]


def test_a_first_measurement_has_no_old_value(checkout: Path) -> None:
    (checkout / "overlap.json").unlink()
    _commit(checkout)
    assert _update().stdout == f"{IDENTITY}: none → 0 (holds)  written\n"


def test_a_changed_verdict_is_refused_with_exit_code_1_until_it_is_accepted(checkout: Path) -> None:
    _tamper(checkout, IDENTITY, verdict="does not hold")
    _commit(checkout)
    result = _update()
    assert result.exit_code == 1
    assert result.stdout == f"{IDENTITY}: 0 (does not hold) → 0 (holds)  REFUSED\n"
    assert "--accept-verdicts" in result.stderr
    assert baselines.read()[IDENTITY].verdict == "does not hold"
    result = _update("--accept-verdicts")
    assert result.exit_code == 0
    assert result.stdout.endswith("→ 0 (holds)  written\n")
    assert baselines.read()[IDENTITY].verdict == "holds"


@pytest.mark.parametrize("reason", ["", "  ", "\t\n"])
def test_an_update_requires_a_reason(reason: str, checkout: Path) -> None:
    before = {path.name: path.read_bytes() for path in checkout.iterdir()}
    assert_refused(_run("baselines", "update", "--id", IDENTITY, "--reason", reason), "--reason")
    assert_refused(_run("baselines", "update", "--id", IDENTITY), "'--reason'")
    assert {path.name: path.read_bytes() for path in checkout.iterdir()} == before


def test_an_update_of_an_unknown_claim_is_rejected(checkout: Path) -> None:
    assert_refused(_update("--id", "overlap"), "claim 'overlap'")


@pytest.mark.parametrize("why", ["CI", "uncommitted changes", "git checkout"])
def test_an_update_in_ci_or_without_a_clean_commit_is_refused(why: str, checkout: Path, monkeypatch) -> None:
    if "CI" in why:
        monkeypatch.setenv("CI", "true")
    elif "uncommitted" in why:
        (checkout.parent / "code.py").write_text("1")
    else:
        shutil.rmtree(checkout.parent / ".git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parents[1]))
    assert_refused(_update(), why)


# ammup baselines diff


def test_diff_prints_the_changes_between_two_commits(checkout: Path) -> None:
    _tamper(checkout, IDENTITY, estimate=0.5, se=0.0123, verdict="does not hold")
    (checkout / "appendix-e.json").unlink()
    _commit(checkout)
    result = _run("baselines", "diff", "HEAD~1", "HEAD")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{CONSTANT}: 0.5 ± 0 (holds) → none",
        f"{IDENTITY}: 0 ± 0 (holds) → 0.5 ± 0.012 (does not hold)",
        "2 claims changed",
    ]
    removed, changed = json.loads(_run("baselines", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert (removed["id"], removed["before"]["estimate"], removed["after"]) == (CONSTANT, 0.5, None)
    assert (changed["id"], changed["before"]["estimate"], changed["after"]["estimate"]) == (IDENTITY, 0.0, 0.5)
    assert changed["after"] == baselines.read()[IDENTITY].to_dict()


def test_diff_of_a_commit_with_itself_is_empty(checkout: Path) -> None:
    assert _run("baselines", "diff", "HEAD", "HEAD").stdout == "0 claims changed\n"
    assert json.loads(_run("baselines", "diff", "HEAD", "HEAD", "--json").stdout) == []


def test_diff_with_an_unknown_commit_is_a_one_line_error(checkout: Path) -> None:
    for pair in (("HEAD", "nowhere"), ("nowhere", "HEAD")):
        assert_refused(_run("baselines", "diff", *pair), "'nowhere'")


@pytest.mark.parametrize("verb", [["claims"], ["baselines"], ["baselines", "update"], ["baselines", "diff"]])
def test_the_help_of_each_verb_shows_its_usage_and_an_example(verb: list[str]) -> None:
    result = _run(*verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: cli {' '.join(verb)}" in result.stdout
    if verb != ["baselines"]:
        assert f"\n    ammup {' '.join(verb)}" in result.stdout  # on a line of its own


@pytest.mark.parametrize("name", ["overlap.sum-identity", "theorem-1.a-name-as-long-as-the-longest-of-them"])
def test_the_ledger_in_a_pipe_has_every_id_on_one_line(name: str, folder: Path) -> None:
    """So that grep finds it, and it can be pasted after --id."""
    baselines.write([baselines.read()[IDENTITY].model_copy(update={"id": name})], "overlap")
    result = CliRunner(env={"COLUMNS": None}).invoke(cli, ["claims"])
    assert name in result.stdout.split()
