"""The git checkout of the baselines: updates, records of other commits, provenance."""

import json
from pathlib import Path

import pytest
from claim_records import commit, git, record

from ammup import InputError
from ammup.claims import baselines, history
from ammup.claims.comparison import differences
from ammup.claims.record import Provenance
from ammup.gate.environment import ENVIRONMENT
from ammup.validation import validated


@pytest.mark.parametrize("value", ["true", "1", "TRUE", "yes"])
def test_no_update_under_ci(value: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"under CI.*locally"):
        history.check_updatable({"CI": value})
    monkeypatch.setenv("CI", value)
    with pytest.raises(InputError, match=r"under CI.*locally"):
        history.check_updatable()


@pytest.mark.parametrize("environ", [None, {"CI": ""}, {"CI": "0"}, {"CI": "false"}, {"HOME": "/root"}])
def test_an_update_is_allowed_in_a_clean_checkout(environ: dict | None, checkout: Path) -> None:
    history.check_updatable(environ)


def test_an_empty_environment_is_used_instead_of_that_of_the_process(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    history.check_updatable({})


def test_no_update_outside_a_checkout_or_before_its_first_commit(outside: Path) -> None:
    with pytest.raises(InputError, match="only in a git checkout of ammup"):
        history.check_updatable()
    git(outside.parent, "init", "--quiet")
    with pytest.raises(InputError, match="only in a git checkout of ammup"):
        history.check_updatable()


def test_no_update_with_uncommitted_changes(checkout: Path) -> None:
    code = checkout.parent / "code.py"
    code.write_text("1")
    with pytest.raises(InputError, match="uncommitted changes; commit them first"):
        history.check_updatable()
    commit(checkout.parent)
    history.check_updatable()
    code.write_text("2")
    with pytest.raises(InputError, match="uncommitted changes"):
        history.check_updatable()
    git(checkout.parent, "add", "code.py")
    with pytest.raises(InputError, match="uncommitted changes"):
        history.check_updatable()


def test_an_interrupted_update_can_be_resumed(checkout: Path) -> None:
    baselines.write([record()], "law")
    commit(checkout.parent)
    baselines.write([record(estimate=0.75)], "law")
    baselines.write([record(id="means.two")], "means")
    history.check_updatable()
    assert history.provenance(0).dirty is False
    (checkout / "README").write_text("no baseline")
    with pytest.raises(InputError, match="uncommitted changes"):
        history.check_updatable()


def test_git_returns_nothing_for_installed_baselines(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history.git("rev-parse", "HEAD")
    monkeypatch.setattr(baselines, "INSTALLED", checkout)
    assert history.git("rev-parse", "HEAD") == ""


def test_git_returns_nothing_if_it_fails_or_is_missing(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history.git("rev-parse", "HEAD") == ""
    monkeypatch.setenv("PATH", "")
    assert history.git("--version") == ""


def test_the_records_of_another_commit_are_read_from_git(checkout: Path) -> None:
    repository = checkout.parent
    before_any = git(repository, "rev-parse", "HEAD")
    baselines.write([record()], "law")
    first = commit(repository)
    baselines.write([record(estimate=0.75)], "law")
    baselines.write([record(id="means.two")], "means")
    (checkout / "figures").mkdir()
    (checkout / "figures" / "law.png.json").write_text("no baseline")
    (checkout / "README").write_text("no baseline either")
    commit(repository)
    git(repository, "tag", "v1")
    baselines.write([record(estimate=99.0)], "law")  # not committed
    assert history.at_commit(before_any) == {}
    assert history.at_commit(first) == history.at_commit("HEAD~1") == {"law.one": record()}
    for name in ("HEAD", "v1"):
        assert history.at_commit(name) == {"law.one": record(estimate=0.75), "means.two": record(id="means.two")}
    changed = differences(history.at_commit(first), history.at_commit("v1"))
    assert [name for name, *_ in changed] == ["law.one", "means.two"]


@pytest.mark.parametrize("commit", ["no-such-branch", "HEAD~5", "0" * 40, "", "--help", "HEAD:baselines"])
def test_an_unknown_commit_is_rejected_by_name(commit: str, checkout: Path) -> None:
    with pytest.raises(InputError, match=r"is not a commit of .*a hash, a branch or a tag") as caught:
        history.at_commit(commit)
    assert str(caught.value).startswith(repr(commit))


def test_an_invalid_file_in_a_commit_is_reported_with_the_commit(checkout: Path) -> None:
    (checkout / "law.json").write_text("{")
    commit(checkout.parent)
    with pytest.raises(InputError, match=r"^HEAD:baselines/law\.json is not a baseline file"):
        history.at_commit("HEAD")


def test_provenance_has_the_commit_and_whether_there_are_uncommitted_changes(checkout: Path) -> None:
    clean = history.provenance(1.2345)
    assert clean.commit == git(checkout.parent, "rev-parse", "HEAD")
    assert clean.dirty is False
    assert clean.seconds == 1.2
    assert set(ENVIRONMENT) <= set(clean.to_dict())
    assert validated(Provenance, json.loads(json.dumps(clean.to_dict()))) == clean
    (checkout.parent / "code.py").write_text("1")
    assert history.provenance(0).dirty is True
