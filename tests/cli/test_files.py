"""Output files of a verb are checked before anything is computed."""

from pathlib import Path

import pytest

from ammup import InputError
from ammup.cli.files import check_folder, check_new_figure, check_new_file


def test_a_new_file_in_an_existing_folder_is_accepted_and_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a.csv", Path("a.csv"), Path("A.CSV")):
        check_new_file(path, suffixes=(".json", ".csv"))
    check_new_figure(tmp_path / "law.PNG")
    check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", r"'a\.txt'.* \.json, \.csv"),
        ("a", r"'a'.* \.json, \.csv"),
        ("there.csv", r"there\.csv already exists"),
        ("folder.csv", r"folder\.csv already exists"),
        ("no/a.csv", r"no/a\.csv: .*/no "),
    ],
)
def test_a_path_that_cannot_be_written_is_rejected(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("content")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        check_new_file(tmp_path / name, suffixes=(".json", ".csv"))
    assert (tmp_path / "there.csv").read_text() == "content"


def test_a_file_that_may_be_overwritten_needs_an_existing_folder_only(tmp_path: Path) -> None:
    (tmp_path / "there.xml").touch()
    check_folder(tmp_path / "there.xml")
    with pytest.raises(InputError, match="missing"):
        check_folder(tmp_path / "missing" / "there.xml")


def test_a_figure_needs_a_suffix_that_matplotlib_supports(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'law\.csv'.*\.pdf.*\.png.*\.svg"):
        check_new_figure(tmp_path / "law.csv")
