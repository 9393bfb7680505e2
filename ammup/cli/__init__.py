"""The command line: one library call for each verb. Exit code 0 done, 1 claim or gate failed, 2 bad input."""

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


class _Cli(click.Group):
    """Shows what could not be used, read or written as one line and exits with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has gone; click ends quietly
        except (InputError, OSError) as error:
            raise _BadInput(str(error)) from error


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ammup")
def cli() -> None:
    """How the learning rate of your network must change with depth: measured, fitted, tested.

    \b
    Example:
      ammup exponent                       # a CNN on synthetic images, in seconds
      ammup exponent resnet --data ~/cifar10 --plot law.png
    """  # noqa: D301  (click reads the \b)


for _verb in (exponent, depth, transfer, check, sweep, fit, claims, baselines, report):
    cli.add_command(_verb)


def main() -> None:
    """Entry point of the command ``ammup``."""
    cli(prog_name="ammup")
