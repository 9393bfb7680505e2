"""`ammup report`: write the sweeps of a store and the ledger of claims as one HTML page."""

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("store", type=_FILE, metavar="RUNS.db|RECORD.json")
@click.option("-o", "--output", type=_FILE, required=True, help="New .html file for the page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(store: Path, output: Path, as_json: bool) -> None:
    """Write a self-contained HTML page of exponents, sweeps with figures, losses of transfer rules, and claims.

    The page contains no script and loads no external resource.

    \b
    Examples:
      ammup report runs.db -o report.html
    """  # noqa: D301  (click reads the \b)
    import json

    from ammup.cli.files import check_new_file, check_sweeps

    check_new_file(output, suffixes=(".html",))
    check_sweeps(store)
    from ammup.report.summary import html_report

    page = html_report(store)
    output.write_text(page, encoding="utf-8")
    click.echo(json.dumps({"written": str(output), "bytes": len(page.encode())}) if as_json else f"written: {output}")
