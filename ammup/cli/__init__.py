"""The command line: each verb makes one library call.

Exit codes: 0 success, 1 a claim or check failed, 2 invalid input, 3 internal error.
"""

import sys
import traceback
from pathlib import Path
from typing import Any

import click

from ammup.cli.check import check
from ammup.cli.claims import baselines, claims
from ammup.cli.depth import depth
from ammup.cli.exponent import exponent
from ammup.cli.fit import fit
from ammup.cli.report import report
from ammup.cli.schema import schema
from ammup.cli.sweep import sweep
from ammup.cli.transfer import transfer
from ammup.cli.tune import tune
from ammup.errors import InputError


class _InvalidInput(click.ClickException):
    exit_code = 2


class _InternalError(click.ClickException):
    exit_code = 3


class _ErrorReportingGroup(click.Group):
    """A group that reports every exception as a one-line error, with exit code 2 or 3."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click handles these, and exits quietly when the reader of a pipe has gone
        except Exception as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            raise _as_click_error(error) from error


def _as_click_error(error: Exception) -> click.ClickException:
    """The error that click prints: exit code 2 for invalid input, files and memory, 3 for anything unexpected."""
    if isinstance(error, InputError):
        return _InvalidInput(error.command_line)
    if isinstance(error, OSError):
        return _InvalidInput(str(error))
    # torch may not be imported here. It raises OutOfMemoryError on a GPU, and RuntimeError with this text on the CPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return _InvalidInput(
            f"not enough memory ({_first_line(error)}); use fewer images, a smaller width or fewer --workers"
        )
    return _InternalError(
        f"internal error: {type(error).__name__}: {_first_line(error)}; "
        "`ammup --debug …` prints the traceback for a bug report"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print the version and the commit, and exit (a click callback)."""
    if value:
        from ammup.provenance import commit_text, versions

        click.echo(f"ammup, version {versions()['ammup']}, commit {commit_text()}")
        ctx.exit()


@click.group(
    cls=_ErrorReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the version and the commit, and exit.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:  # the group reads the option when a verb raises
    """How the learning rate of your network must change with depth: measured, fitted, tested.

    \b
    Example:
      ammup exponent                       # a CNN on synthetic images, in seconds
      ammup exponent resnet --data ~/cifar10 --plot law.png
    """  # noqa: D301  (click reads the \b)


for _verb in (exponent, depth, transfer, tune, check, sweep, fit, claims, baselines, report, schema):
    cli.add_command(_verb)


def main() -> None:
    """Run the command ``ammup``. Factories can be imported from the current folder, as with ``python -m``."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    cli(prog_name="ammup")
