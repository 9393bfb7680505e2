"""The command line as a user types it."""

from click.testing import CliRunner, Result

from ammup.cli import cli


def run(*arguments: object, columns: int | None = None) -> Result:
    """Run a command; an exception that it does not handle is raised.

    ``columns`` is the width of the terminal, so that no line of a table is broken.
    """
    environment = {} if columns is None else {"COLUMNS": str(columns)}
    result = CliRunner(env=environment).invoke(cli, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_refused(result: Result, message: str) -> None:
    """Bad input is a one-line error with exit code 2, and nothing else."""
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert "Traceback" not in result.output
    assert result.stdout == ""
