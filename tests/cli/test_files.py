"""Files that a verb is going to write are checked before anything is computed."""

from pathlib import Path

import pytest

from ammup import InputError
from ammup.cli.files import check_folder, check_new_figure, check_new_file


def test_a_new_file_in_a_folder_that_exists_is_accepted_and_not_made(
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
        ("there.csv", r"there\.csv exists"),
        ("folder.csv", r"folder\.csv exists"),
        ("no/a.csv", r"no/a\.csv: .*/no "),
    ],
)
def test_a_file_that_could_not_be_written_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("kept")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        check_new_file(tmp_path / name, suffixes=(".json", ".csv"))
    assert (tmp_path / "there.csv").read_text() == "kept"


def test_a_file_to_be_replaced_needs_a_folder_only(tmp_path: Path) -> None:
    (tmp_path / "there.xml").touch()
    check_folder(tmp_path / "there.xml")
    with pytest.raises(InputError, match="missing"):
        check_folder(tmp_path / "missing" / "there.xml")


def test_a_figure_has_a_suffix_of_matplotlib(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'law\.csv'.*\.pdf.*\.png.*\.svg"):
        check_new_figure(tmp_path / "law.csv")
