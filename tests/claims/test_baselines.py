"""Baseline files, the comparison of a figure with its baseline, and what git has to say."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ammup import InputError
from ammup.claims import baselines
from ammup.claims.statements import CLAIMS
from ammup.stats.equivalence import Estimate

SOMEWHERE = {
    "torch": "2.9", "device": "cpu", "dtype": "float32", "threads": 1, "numpy": "2.0", "machine": "x86_64",
    "commit": "0123abcd", "date": "2026-01-01", "python": "3.11.0", "seconds": 0.5,
}  # fmt: skip


def _record(**changed) -> dict:
    return {
        "id": "law.one",
        "where": "Theorem 1",
        "statement": "S̄ ≤ 1 | always",
        "change": "",
        "remark": "",
        "stated": [-1.0, 1.0],
        "law": None,
        "verdict": "holds",
        "estimate": 0.5,
        "se": 0.01,
        "key": "0123",
        "exact": False,
        "margin": 1.0,
        "root": 0,
        "sample": {"seeds": [0, 3], "estimate": 0.4, "allowed": 0.002},
        "regime": "dense nets",
        "estimator": "a slope",
        "reason": "",
        "interval": [0.4, 0.6],
        "interval_level": 0.999,
        **dict.fromkeys(("power", "false_alarm", "alpha", "reference"), 0.1),
        "n": 4,
        "looks": 1,
        "provenance": dict(SOMEWHERE),
        **changed,
    }


def _git(where: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _commit(repository: Path) -> str:
    _git(repository, "add", "--all")
    _git(repository, "commit", "--quiet", "--allow-empty", "--message", "a commit")
    return _git(repository, "rev-parse", "HEAD")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for baselines that is in no repository; neither CI nor the user's git shows through."""
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    for name in [name for name in os.environ if name == "CI" or name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "repository" / "baselines"
    folder.mkdir(parents=True)
    monkeypatch.setattr(baselines, "folder", lambda: folder)
    return folder


@pytest.fixture
def checkout(outside: Path) -> Path:
    """The same in a repository with one commit."""
    _git(outside.parent, "init", "--quiet")
    _commit(outside.parent)
    return outside


# Files


def test_the_baselines_of_a_checkout_are_in_its_root() -> None:
    assert baselines.folder() == Path(__file__).parents[2] / "baselines"


def test_what_is_written_is_read_again_in_the_order_of_files_and_records(tmp_path: Path) -> None:
    second = [_record(id="law.two", estimate=1 / 3), _record(id="law.one", stated=[0.0, None])]
    assert baselines.write(second, "law", tmp_path / "new") == tmp_path / "new" / "law.json"
    baselines.write([_record(id="appendix.three")], "appendix", tmp_path / "new")
    found = baselines.read(tmp_path / "new")
    assert list(found) == ["appendix.three", "law.two", "law.one"]
    assert [found["law.two"], found["law.one"]] == second
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["appendix.json", "law.json"]


def test_a_file_is_readable_text_that_ends_with_a_newline(tmp_path: Path) -> None:
    text = baselines.write([_record()], "law", tmp_path).read_text(encoding="utf-8")
    assert '"statement": "S̄ ≤ 1 | always"' in text
    assert text.endswith("}\n")
    assert len(text.splitlines()) > len(_record())  # one field a line, so that a diff shows one
    assert baselines.parse(text, "law.json") == {"law.one": _record()}


def test_an_empty_folder_and_one_that_is_not_there_hold_no_baselines(tmp_path: Path) -> None:
    assert baselines.read(tmp_path) == baselines.read(tmp_path / "nowhere") == {}


def _file(**changed) -> str:
    return json.dumps({"schema_version": 1, "claims": [_record()], **changed})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a baseline file"),
        ("<<<<<<< HEAD\n" + _file(), "is not a baseline file"),
        (_file()[:-20], "is not a baseline file"),
        ("[]", "is not a baseline file"),
        ("3", "is not a baseline file"),
        ("null", "is not a baseline file"),
        (json.dumps({"claims": []}), "is not a baseline file"),
        (json.dumps({"schema_version": 1}), "is not a baseline file"),
        (_file(claims=[3]), "has incomplete records"),
        (_file(claims=[_record(estimate="0.5")]), "has incomplete records"),
        (_file(claims=[_record(stated=[0.0])]), "has incomplete records"),
        (_file(claims=[_record(n=True)]), "has incomplete records"),
        (_file(claims=[_record(provenance={})]), "has incomplete records"),
        (_file().replace("0.01", "NaN"), "NaN is no number of JSON"),
        ('{"claims":' + "[" * 100_000, "nested too deeply"),
        (_file(claims=None), "is not a baseline file"),
        (_file(schema_version=2), "schema version 2 where this ammup reads 1"),
        (_file(schema_version="1"), "has incomplete records"),
        (_file(claims={"id": _record()}), "incomplete records"),
        *((_file(claims=[{k: v for k, v in _record().items() if k != name}]), "incomplete records")
          for name in ("id", "verdict", "estimate", "se", "key", "provenance")),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    baselines.write([_record(id="appendix.fine")], "appendix", tmp_path)
    (tmp_path / "law.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        baselines.read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "law.json"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "law.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"law\.json is not a baseline file"):
        baselines.read(tmp_path)


@pytest.mark.parametrize("name", ["root", "where", "statement", "change", "remark", "stated", "exact", "margin"])
def test_a_record_without_what_a_comparison_reads_is_incomplete(name: str) -> None:
    record = {k: v for k, v in _record().items() if k != name}
    with pytest.raises(InputError, match="incomplete records"):
        baselines.compare(_record(), baselines.parse(_file(claims=[record]), "law.json")["law.one"])


@pytest.mark.parametrize(
    "record", [_record(estimate=float("nan")), _record(estimate=float("inf")), _record(remark=object())]
)
def test_a_record_that_json_cannot_hold_leaves_the_old_file_as_it_was(record: dict, tmp_path: Path) -> None:
    before = baselines.write([_record()], "law", tmp_path).read_bytes()
    with pytest.raises((ValueError, TypeError)):
        baselines.write([_record(), record], "law", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"law.json": before}


def test_the_real_baselines_can_be_read_and_belong_to_the_files_of_their_groups() -> None:
    for path in baselines.folder().glob("*.json"):
        records = baselines.parse(path.read_text(encoding="utf-8"), path.name)
        assert {name.partition(".")[0] for name in records} == {path.stem}
        assert set(records) <= {claim.id for claim in CLAIMS}


# Comparison


@pytest.mark.parametrize(("estimate", "moved"), [(0.401, False), (0.403, True), (0.397, True)])
def test_a_record_is_rewritten_where_its_sample_moved(estimate: float, moved: bool) -> None:
    """Also where the figure itself agrees, so that an update heals what the gate over commits complains of."""
    new = _record(sample={"seeds": [0, 3], "estimate": estimate, "allowed": 0.002})
    assert baselines.compare(new, _record()).moved is moved
    old = {name: value for name, value in _record().items() if name != "sample"}
    assert baselines.compare(new, old).moved


def test_a_sample_may_move_by_a_tenth_of_its_standard_error_or_by_rounding() -> None:
    drawn = Estimate(value=1.0, se=0.01, df=63, n=64)
    assert baselines.sample_margin(drawn, 1.0, 4) == pytest.approx(0.1 * 0.01 * 4)
    exact = Estimate(value=1e3, se=0.0, df=1, n=200)
    assert baselines.sample_margin(exact, 1e3, 200) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("se", "estimate", "share", "agrees"),
    [(0.01, 0.5, 0.9, True), (0.01, 0.5, 1.1, False), (0.01, 0.5, -0.9, True), (0.01, 0.5, -1.1, False)],
)
def test_the_same_seeds_torch_device_and_dtype_allow_a_hundredth_of_a_standard_error(
    se: float, estimate: float, share: float, agrees: bool
) -> None:
    new = _record(se=se, estimate=estimate + share * baselines.NEAR * se)
    compared = baselines.compare(new, _record(se=se, estimate=estimate))
    assert (compared.problems == ()) is agrees
    assert compared.moved is not agrees
    assert not compared.verdict_changed
    if not agrees:
        (problem,) = compared.problems
        assert "0.5 became" in problem
        assert "the same seeds, torch and device allow 0.0001" in problem


@pytest.mark.parametrize("changed", [{}, {"root": 1}])
def test_an_exact_figure_is_held_by_its_region_alone(changed: dict) -> None:
    old = _record(se=0.0, exact=True)
    assert baselines.compare(_record(se=0.0, exact=True, estimate=-2000.0, **changed), old).problems == ()
    new = _record(se=0.0, exact=True, verdict="does not hold", **changed)
    assert baselines.compare(new, old).problems == ("verdict 'holds' became 'does not hold'",)


@pytest.mark.parametrize("name", ["threads", "machine"])
def test_threads_and_machine_are_no_other_environment(name: str) -> None:
    new = _record(estimate=0.51, provenance={**SOMEWHERE, name: "other"})
    assert len(baselines.compare(new, _record()).problems) == 1


ELSEWHERE = [
    {"root": 1},
    *({"provenance": {**SOMEWHERE, name: "other"}} for name in ("torch", "numpy", "device", "dtype")),
]


@pytest.mark.parametrize("changed", ELSEWHERE)
@pytest.mark.parametrize(
    ("region", "margin"),
    [({"margin": 1.0}, 1.0), ({"law": [2.0, 2.5], "margin": 0.25}, 0.25),
     ({"stated": [0.0, None], "margin": None}, 5.3 * 0.05), ({"margin": 0.25, "law": [2.0, 2.5]}, 5.3 * 0.05)],
)  # fmt: skip
def test_elsewhere_a_figure_may_drift_by_the_margin_of_the_guarded_region_or_what_two_samples_differ_by(
    changed: dict, region: dict, margin: float
) -> None:
    noisy = margin not in (1.0, 0.25)
    old, region = _record(se=0.03 if noisy else 0.01, **region), {"se": 0.04 if noisy else 0.01, **region}
    assert baselines.drift_margin(_record(**region), old) == pytest.approx(margin)
    for share in (-0.99, 0.99):
        assert baselines.compare(_record(estimate=0.5 + share * margin, **region, **changed), old).problems == ()
    for share in (-1.01, 1.01):
        (problem,) = baselines.compare(_record(estimate=0.5 + share * margin, **region, **changed), old).problems
        assert "another torch, device or seed root allow" in problem


def test_another_verdict_is_a_problem_even_where_the_figure_is_the_same() -> None:
    compared = baselines.compare(_record(verdict="does not hold"), _record())
    assert compared.problems == ("verdict 'holds' became 'does not hold'",)
    assert compared.verdict_changed
    assert compared.moved


def test_figures_of_a_claim_that_was_defined_differently_are_not_compared() -> None:
    compared = baselines.compare(_record(key="4567", estimate=99.0), _record())
    assert compared.problems == ("the claim was defined differently when its baseline was measured",)
    assert compared.moved


def test_a_claim_without_a_baseline_is_a_problem_and_no_changed_verdict() -> None:
    compared = baselines.compare(_record(), None)
    assert compared.problems == ("there is no baseline; measure one with `ammup baselines update`",)
    assert compared.moved
    assert not compared.verdict_changed
    assert (compared.id, compared.old, compared.new) == ("law.one", None, _record())


@pytest.mark.parametrize("name", ["where", "statement", "change", "remark"])
def test_other_words_are_written_down_and_are_no_problem(name: str) -> None:
    compared = baselines.compare(_record(**{name: "other words"}), _record())
    assert compared.problems == ()
    assert compared.moved


def test_a_record_measured_again_does_not_replace_its_equal() -> None:
    later = _record(provenance={**SOMEWHERE, "threads": 7, "seconds": 9.9}, reason="why not")
    assert not baselines.compare(later, _record()).moved


def test_differences_are_new_claims_gone_ones_and_other_figures_but_no_other_words() -> None:
    before = {"law.gone": _record(), "law.same": _record(), "law.words": _record(), "law.moved": _record()}
    after = {
        "law.moved": _record(se=0.02),
        "law.words": _record(remark="x"),
        "law.same": _record(),
        "law.new": _record(),
    }
    assert baselines.differences(before, after) == [
        ("law.gone", _record(), None),
        ("law.moved", _record(), _record(se=0.02)),
        ("law.new", None, _record()),
    ]


@pytest.mark.parametrize("name", ["verdict", "estimate", "se", "key"])
def test_each_part_of_a_figure_makes_a_difference(name: str) -> None:
    before, after = {"a": _record()}, {"a": _record(**{name: 7})}
    assert [found[0] for found in baselines.differences(before, after)] == ["a"]


def test_records_are_ordered_like_the_claims_and_strangers_come_last() -> None:
    records = [_record(id=name) for name in ("x", "b", "a", "c")]
    assert [record["id"] for record in baselines.ordered(records, ["c", "b", "a"])] == ["c", "b", "a", "x"]


# Git


@pytest.mark.parametrize("value", ["true", "1", "TRUE", "yes"])
def test_no_update_under_ci(value: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not updated under CI"):
        baselines.check_updatable({"CI": value})
    monkeypatch.setenv("CI", value)
    with pytest.raises(InputError, match="not updated under CI"):
        baselines.check_updatable()


@pytest.mark.parametrize("environ", [None, {"CI": ""}, {"CI": "0"}, {"CI": "false"}, {"HOME": "/root"}])
def test_an_update_is_allowed_in_a_clean_checkout(environ: dict | None, checkout: Path) -> None:
    baselines.check_updatable(environ)


def test_an_empty_environment_is_not_the_process_s_own(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    baselines.check_updatable({})


def test_no_update_outside_a_checkout_or_before_its_first_commit(outside: Path) -> None:
    with pytest.raises(InputError, match="updated in a git checkout of ammup"):
        baselines.check_updatable()
    _git(outside.parent, "init", "--quiet")
    with pytest.raises(InputError, match="updated in a git checkout of ammup"):
        baselines.check_updatable()


def test_no_update_with_uncommitted_changes_wherever_they_are(checkout: Path) -> None:
    code = checkout.parent / "code.py"
    code.write_text("1")
    with pytest.raises(InputError, match="uncommitted changes; commit them first"):
        baselines.check_updatable()
    _commit(checkout.parent)
    baselines.check_updatable()
    code.write_text("2")
    with pytest.raises(InputError, match="uncommitted changes"):
        baselines.check_updatable()
    _git(checkout.parent, "add", "code.py")
    with pytest.raises(InputError, match="uncommitted changes"):
        baselines.check_updatable()


def test_an_update_that_was_cut_off_can_go_on(checkout: Path) -> None:
    baselines.write([_record()], "law")
    _commit(checkout.parent)
    baselines.write([_record(estimate=0.75)], "law")
    baselines.write([_record(id="means.two")], "means")
    baselines.check_updatable()
    assert baselines.provenance(0)["dirty"] is False
    (checkout / "README").write_text("no baseline")
    with pytest.raises(InputError, match="uncommitted changes"):
        baselines.check_updatable()


def test_git_says_nothing_of_baselines_that_were_installed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert baselines.git("rev-parse", "HEAD")
    monkeypatch.setattr(baselines, "INSTALLED", checkout)
    assert baselines.git("rev-parse", "HEAD") == ""


def test_git_says_nothing_where_it_fails_or_is_missing(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert baselines.git("rev-parse", "HEAD") == ""
    monkeypatch.setenv("PATH", "")
    assert baselines.git("--version") == ""


def test_the_records_of_another_commit_are_those_that_it_had(checkout: Path) -> None:
    repository = checkout.parent
    before_any = _git(repository, "rev-parse", "HEAD")
    baselines.write([_record()], "law")
    first = _commit(repository)
    baselines.write([_record(estimate=0.75)], "law")
    baselines.write([_record(id="means.two")], "means")
    (checkout / "figures").mkdir()
    (checkout / "figures" / "law.png.json").write_text("no baseline")
    (checkout / "README").write_text("no baseline either")
    _commit(repository)
    _git(repository, "tag", "v1")
    baselines.write([_record(estimate=99.0)], "law")  # not committed, so of no commit
    assert baselines.at_commit(before_any) == {}
    assert baselines.at_commit(first) == baselines.at_commit("HEAD~1") == {"law.one": _record()}
    for name in ("HEAD", "v1"):
        assert baselines.at_commit(name) == {"law.one": _record(estimate=0.75), "means.two": _record(id="means.two")}
    found = baselines.differences(baselines.at_commit(first), baselines.at_commit("v1"))
    assert [name for name, *_ in found] == ["law.one", "means.two"]


@pytest.mark.parametrize("commit", ["no-such-branch", "HEAD~5", "0" * 40, "", "--help", "HEAD:baselines"])
def test_an_unknown_commit_is_named(commit: str, checkout: Path) -> None:
    with pytest.raises(InputError, match=r"is not a commit of .*; give a hash, a branch or a tag") as caught:
        baselines.at_commit(commit)
    assert str(caught.value).startswith(repr(commit))


def test_a_file_that_was_broken_in_a_commit_is_named_with_it(checkout: Path) -> None:
    (checkout / "law.json").write_text("{")
    _commit(checkout.parent)
    with pytest.raises(InputError, match=r"^HEAD:baselines/law\.json is not a baseline file"):
        baselines.at_commit("HEAD")


def test_provenance_names_the_commit_and_whether_it_is_the_whole_truth(checkout: Path) -> None:
    clean = baselines.provenance(1.2345)
    assert clean["commit"] == _git(checkout.parent, "rev-parse", "HEAD")
    assert clean["dirty"] is False
    assert clean["seconds"] == 1.2
    assert set(baselines.ENVIRONMENT) <= set(clean)
    assert json.loads(json.dumps(clean)) == clean
    (checkout.parent / "code.py").write_text("1")
    assert baselines.provenance(0)["dirty"] is True


def test_a_stopwatch_goes_on() -> None:
    watch = baselines.Stopwatch()
    first = watch.seconds
    assert 0 <= first <= watch.seconds < 60
