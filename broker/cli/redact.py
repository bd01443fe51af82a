"""``wicketgate redact``: what the redactor finds in a text, and the text without it."""

import json
from typing import BinaryIO

import click

from broker.cli.exits import Stop


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--findings", is_flag=True, help="Print one JSON object a finding instead of the text.")
@click.option("--json", "as_json", is_flag=True, help="One object: the text and its findings.")
def redact(file: BinaryIO, findings: bool, as_json: bool) -> None:
    """Redact FILE (default: standard input) to standard output; offsets count characters."""
    from broker.redaction import redact_text

    try:
        text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Stop(f"the text is not UTF-8 at byte {error.start}", "convert it, for example with iconv") from None
    clean, found = redact_text(text)
    shown = [
        {"entity": one.entity, "start": one.start, "end": one.end, "rule": one.rule, "score": one.score}
        for one in found
    ]
    if as_json:
        click.echo(json.dumps({"text": clean, "findings": shown}))
    elif findings:
        for one in shown:
            click.echo(json.dumps(one))
    else:
        click.echo(clean, nl=False)
