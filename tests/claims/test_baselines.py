"""Baseline files."""

import json
from pathlib import Path

import pytest
from claim_records import record, stored

from ammup import InputError
from ammup.claims import baselines
from ammup.claims.record import ClaimRecord
from ammup.claims.statements import CLAIMS


def test_the_baselines_of_a_checkout_are_in_its_top_folder() -> None:
    assert baselines.folder() == Path(__file__).parents[2] / "baselines"


def test_records_are_read_back_in_the_order_of_files_and_records(tmp_path: Path) -> None:
    second = [record(id="law.two", estimate=1 / 3), record(id="law.one", stated=[0.0, None])]
    assert baselines.write(second, "law", tmp_path / "new") == tmp_path / "new" / "law.json"
    baselines.write([record(id="appendix.three")], "appendix", tmp_path / "new")
    records = baselines.read(tmp_path / "new")
    assert list(records) == ["appendix.three", "law.two", "law.one"]
    assert [records["law.two"], records["law.one"]] == second
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["appendix.json", "law.json"]


def test_a_file_has_one_field_per_line_and_ends_with_a_newline(tmp_path: Path) -> None:
    text = baselines.write([record()], "law", tmp_path).read_text(encoding="utf-8")
    assert '"statement": "S̄ ≤ 1 | always"' in text
    assert text.endswith("}\n")
    assert len(text.splitlines()) > len(stored())
    assert baselines.parse(text, "law.json") == {"law.one": record()}


def test_an_empty_or_missing_folder_has_no_records(tmp_path: Path) -> None:
    assert baselines.read(tmp_path) == baselines.read(tmp_path / "nowhere") == {}


def _file(**changed) -> str:
    return json.dumps({"schema_version": 1, "claims": [stored()], **changed})


def _one(**changed) -> str:
    return _file(claims=[stored(), stored(**changed)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not a baseline file"]),
        ("<<<<<<< HEAD\n" + _file(), ["not a baseline file"]),
        (_file()[:-20], ["not a baseline file"]),
        ("[]", ["not a baseline file"]),
        ("3", ["not a baseline file"]),
        ("null", ["not a baseline file"]),
        (json.dumps({"claims": []}), ["not a baseline file", "schema_version: is missing"]),
        (_file().replace("0.01", "NaN"), ["not a baseline file", "NaN"]),
        ('{"claims":' + "[" * 100_000, ["not a baseline file", "too deep"]),
        (_file(schema_version=2), ["schema version 2", "reads 1"]),
        (_file(schema_version="1"), ["schema_version: ", "integer", "'1' was given"]),
        (_file(schema_version=True), ["schema_version: ", "integer", "True was given"]),
        (json.dumps({"schema_version": 1}), ["claims: is missing"]),
        (_file(claims=None), ["claims: ", "a list", "None was given"]),
        (_file(claims={"id": stored()}), ["claims: ", "a list"]),
        (_file(claims=[3]), ["claims.0: ", "3 was given"]),
        (_one(estimate="0.5"), ["claims.1.estimate: ", "number", "'0.5' was given"]),
        (_one(estimate=True), ["claims.1.estimate: ", "number", "True was given"]),
        (_file().replace("0.01", "1e999"), ["claims.0.se: ", "finite number", "inf was given"]),
        (_one(stated=[0.0]), ["claims.1.stated.1: is missing"]),
        (_one(stated=[0.0, "1"]), ["claims.1.stated.1: ", "number", "'1' was given"]),
        (_one(n=True), ["claims.1.n: ", "integer", "True was given"]),
        (_one(verdict="perhaps"), ["claims.1.verdict: ", "'perhaps'", "holds with change", "inconclusive"]),
        (_one(provenance={}), ["claims.1.provenance.commit: is missing", "more"]),
        (_one(sample={"seeds": [0], "estimate": 0.4, "allowed": 1}), ["claims.1.sample.seeds.1: is missing"]),
        (_one(regime="x" * 10_000, where=["y" * 10_000]), ["claims.1.where: ", "'yyyy", "…"]),
    ],
)
def test_an_invalid_file_is_reported_in_one_line_with_field_value_and_remedy(
    text: str, words: list[str], tmp_path: Path
) -> None:
    baselines.write([record(id="appendix.fine")], "appendix", tmp_path)
    (tmp_path / "law.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        baselines.read(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "law.json"))
    for word in (*words, "restore"):
        assert word in message
    assert "\n" not in message
    assert len(message) < len(str(tmp_path)) + 600


def test_a_file_that_is_not_utf_8_is_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "law.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"law\.json is not a baseline file"):
        baselines.read(tmp_path)


OPTIONAL = {"agrees_with_law", "column_means", "column_errors", "seeds", "sample"}


@pytest.mark.parametrize("name", sorted(ClaimRecord.model_fields.keys() - OPTIONAL))
def test_a_record_without_a_required_field_is_rejected(name: str) -> None:
    incomplete = {k: v for k, v in stored().items() if k != name}
    with pytest.raises(InputError, match=rf"claims\.0\.{name}: is missing"):
        baselines.parse(_file(claims=[incomplete]), "law.json")


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_a_record_of_an_earlier_version_is_read(name: str) -> None:
    earlier = {k: v for k, v in stored().items() if k != name}
    record = baselines.parse(_file(claims=[earlier]), "law.json")["law.one"]
    assert record.to_dict() == earlier


def test_an_unknown_field_is_preserved(tmp_path: Path) -> None:
    records = baselines.parse(_file(claims=[stored(later=[1, {"a": 2.5}])]), "law.json")
    baselines.write(records.values(), "law", tmp_path)
    assert json.loads((tmp_path / "law.json").read_text())["claims"] == [stored(later=[1, {"a": 2.5}])]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_failed_write_does_not_change_the_old_file(value: object, tmp_path: Path) -> None:
    before = baselines.write([record()], "law", tmp_path).read_bytes()
    wrong = record().model_copy(update={"estimate": value})
    with pytest.raises((ValueError, TypeError)):
        baselines.write([record(), wrong], "law", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"law.json": before}


def test_each_stored_record_is_in_the_file_of_its_group() -> None:
    for path in baselines.folder().glob("*.json"):
        records = baselines.parse(path.read_text(encoding="utf-8"), path.name)
        assert {name.partition(".")[0] for name in records} == {path.stem}
        assert set(records) <= {claim.id for claim in CLAIMS}


def test_reading_and_writing_the_stored_baselines_preserves_their_bytes(tmp_path: Path) -> None:
    for path in baselines.folder().glob("*.json"):
        again = baselines.write(baselines.parse(path.read_bytes(), path.name).values(), path.stem, tmp_path)
        assert again.read_bytes() == path.read_bytes()


def test_records_are_sorted_like_the_claims_and_unknown_ones_come_last() -> None:
    records = [record(id=name) for name in ("x", "b", "a", "c")]
    assert [one.id for one in baselines.ordered(records, ["c", "b", "a"])] == ["c", "b", "a", "x"]
