"""``wicketgate audit``: the verifier of ``python -m audit``, and the log as the gate or a published folder gives it."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.caller import Caller, as_client, json_option, when
from broker.cli.exits import ERROR, UNVERIFIED, Failure

if TYPE_CHECKING:
    from wicketgate import Entry, Gate

    from audit.verify import Report

FOLLOW_SECONDS = 2.0
PAGE = 500
_FILE = click.Path(path_type=Path)
_published = click.option("--log", "place", metavar="PATH|URL", help="Read a published log instead of asking the gate.")


@click.group()
def audit() -> None:
    """The log: verify it, prove a record, read it."""


@audit.command()
@click.argument("place", metavar="PATH|URL|BUNDLE")
@click.option("--vkey", type=_FILE, help="The log's public key; without it nobody vouches for the checkpoint.")
@click.option("--known-checkpoint", "known", type=_FILE, multiple=True, help="A checkpoint that you kept; repeatable.")
@click.option("--payloads", type=_FILE, help="Payload file of an export.")
@click.option("--entry", type=_FILE, help="The record (one line) that a .tlog-proof is about.")
@json_option
def verify(  # noqa: PLR0913, PLR0917 - one argument an option
    place: str, vkey: Path | None, known: tuple[Path, ...], payloads: Path | None, entry: Path | None, as_json: bool
) -> None:
    """Verify a published log from its first record to its checkpoint; a .tlog-proof with --entry; an exported bundle."""
    from audit.errors import AuditError
    from broker.cli import exported

    if place.endswith(".tlog-proof") and entry is None:
        raise click.UsageError("a proof is about a record: give --entry FILE")
    context = click.get_current_context()
    report: Report | exported.Verified
    try:
        if exported.is_bundle(place):
            if payloads or entry or len(known) > 1:
                raise click.UsageError(
                    "a bundle is verified with --vkey and one --known-checkpoint; its payloads are elsewhere"
                )
            report = exported.verified(place, vkey, known[0] if known else None)
        else:
            report = _verified(place, vkey, known, payloads, entry)
    except (AuditError, OSError) as error:
        missing = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        Failure(UNVERIFIED, missing, "check the path; without every file nothing is verified", {"ok": False}).tell(
            as_json=as_json
        )
        context.exit(UNVERIFIED)
    click.echo(json.dumps(report.as_json()) if as_json else report.as_text())
    context.exit(0 if report.ok else UNVERIFIED)


def _verified(
    place: str, vkey: Path | None, known: Sequence[Path], payloads: Path | None, entry: Path | None
) -> "Report":
    """Exactly what ``python -m audit verify`` does."""
    from audit import export
    from audit import verify as verifier
    from audit.note import parse_vkey
    from audit.source import open_source

    key = parse_vkey(vkey.read_text("utf-8")) if vkey else None
    if entry is not None:
        return verifier.verify_proof(Path(place).read_bytes(), entry.read_bytes().removesuffix(b"\n"), key)
    kept = [verifier.Known(str(path), path.read_bytes()) for path in known]
    opened = None
    if payloads is not None:
        with payloads.open("rb") as lines:
            opened = export.read_payloads(lines)
    return verifier.verify(open_source(place), key, kept, opened)


@audit.command()
@click.argument("seq", type=click.IntRange(0))
@_published
@as_client
def prove(caller: Caller, seq: int, place: str | None) -> None:
    """Print the C2SP tlog-proof that record SEQ is in the log."""
    if place is not None:
        _published_command("prove", place, str(seq))
    proof = caller.run(lambda gate: gate.audit.proof(seq))
    caller.show({"seq": seq, "proof": proof}, proof.removesuffix("\n"))


@audit.command()
@click.option("--format", "form", type=click.Choice(["jsonl"]), default="jsonl", show_default=True)
@click.option("--session", default="", help="Only the records of this session or incident.")
@_published
@as_client
def export(caller: Caller, form: str, session: str, place: str | None) -> None:
    """The records, exact leaf bytes, one a line."""
    if place is not None:
        _published_command("export", place, *(("--session", session) if session else ()))

    async def pages(gate: "Gate") -> None:
        async for page in gate.audit.export(form=form, session=session):
            sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()

    caller.run(pages)


@audit.command()
@click.option("-n", "--lines", default=10, show_default=True, help="How many records to begin with.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with new records; those of the following itself are left out."
)
@_published
@as_client
def tail(caller: Caller, lines: int, follow: bool, place: str | None) -> None:
    """The newest records, one a line."""
    if place is not None:
        if follow:
            raise click.UsageError("--follow asks the gate: leave out --log")
        _published_command("tail", place, "-n", str(lines))

    async def read(gate: "Gate") -> None:
        after = max(-1, await _size(gate) - lines - 1)
        while True:
            found = await gate.audit.entries(after=after, limit=PAGE if follow else lines)
            for entry in found:
                after = entry.seq
                if not (follow and _is_reading(entry)):
                    _print(caller, entry)
            sys.stdout.flush()
            if not follow:
                return
            await asyncio.sleep(FOLLOW_SECONDS if len(found) < PAGE else 0)

    caller.run(read)


async def _size(gate: "Gate") -> int:
    """Records in the log: the second line of its checkpoint (C2SP tlog-checkpoint)."""
    return int((await gate.audit.checkpoint()).split("\n")[1])


def _is_reading(entry: "Entry") -> bool:
    """True for the records that reading the log makes: following it would never come to rest."""
    body: Any = entry.record.get("body", {})
    action = body.get("action") or {}
    return str(action.get("name")) == "gate.audit.read"


def _print(caller: Caller, entry: "Entry") -> None:
    record: Any = entry.record
    body = record.get("body", {})
    action = body.get("action", {}).get("name", "")
    said = body.get("error") or body.get("outcome", {}).get("status") or body.get("decision", {}).get("effect", "")
    at = when(int(record["time_ns"]) // 10**9)
    line = f"{entry.seq:>7}  {at}  {record.get('kind', ''):9}  {action}  {said}".rstrip()
    caller.show({"seq": entry.seq, "leaf": entry.leaf, "record": record}, line)


def _published_command(*arguments: str) -> None:
    """The same command of ``python -m audit``."""
    from audit.__main__ import main

    click.get_current_context().exit(main(list(arguments)) and ERROR)
