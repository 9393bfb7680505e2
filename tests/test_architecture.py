"""Data flows one way through the rooms; the contracts stand in pyproject.toml."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_the_arrows_between_the_rooms_point_one_way(pytestconfig) -> None:
    config = pytestconfig.rootpath / "pyproject.toml"
    assert lint_imports(config_filename=str(config), no_cache=True) == EXIT_STATUS_SUCCESS
