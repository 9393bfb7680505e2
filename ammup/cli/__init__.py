"""The command line: one library call for each verb.

Exit code 0 done, 1 claim or gate failed, 2 bad input, 3 an error of ammup's own.
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
from ammup.cli.sweep import sweep
from ammup.cli.transfer import transfer
from ammup.errors import InputError


class _BadInput(click.ClickException):
    exit_code = 2


class _OwnError(click.ClickException):
    exit_code = 3


class _Cli(click.Group):
    """Shows what could not be used, read or written as one line and exits with 2; with 3 what nobody foresaw."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click knows what to do; after a broken pipe the reader has gone
        except Exception as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            raise _failure(error) from error


def _failure(error: Exception) -> click.ClickException:
    if isinstance(error, InputError | OSError):
        return _BadInput(str(error))
    # torch, which may not be loaded, has a class for its GPUs' memory and a message for the CPU's.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return _BadInput(f"not enough memory ({_line(error)}); take fewer images, a smaller width or fewer --workers")
    return _OwnError(
        f"an error inside ammup: {type(error).__name__}: {_line(error)}; "
        "`ammup --debug …` shows where, for a report to its maintainers"
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ammup")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:  # the group reads it where an error ends a verb
    """How the learning rate of your network must change with depth: measured, fitted, tested.

    \b
    Example:
      ammup exponent                       # a CNN on synthetic images, in seconds
      ammup exponent resnet --data ~/cifar10 --plot law.png
    """  # noqa: D301  (click reads the \b)


for _verb in (exponent, depth, transfer, check, sweep, fit, claims, baselines, report):
    cli.add_command(_verb)


def main() -> None:
    """Entry point of the command ``ammup``: a factory in the current folder can be imported, as by ``python -m``."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    cli(prog_name="ammup")
