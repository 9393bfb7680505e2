"""`ammup schema`: print the JSON Schema of an output or a file."""

import json

import click


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
def schema(name: str | None) -> None:
    """Print the JSON Schema of what a command prints with --json, or of a JSON file that ammup writes.

    Without NAME, the names are listed. Later versions may add keys, and do not remove or rename any.

    \b
    Examples:
      ammup schema
      ammup schema exponent > exponent.schema.json
    """  # noqa: D301  (click reads the \b)
    from ammup.schemas.schema import ABOUT, json_schema

    if name is not None:
        click.echo(json.dumps(json_schema(name), indent=1, ensure_ascii=False))
        return
    width = max(map(len, ABOUT))
    for one, about in ABOUT.items():
        click.echo(f"{one:{width}}  {about}")
