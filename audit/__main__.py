"""`python -m audit`: verify, prove, tail and export a published log, without the gate.

Exit codes: 0 ok, 1 error, 2 usage, 7 verification failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from audit import export, tiles
from audit.checkpoint import Checkpoint, parse_checkpoint, prove
from audit.errors import AuditError, Malformed
from audit.note import Verifier, parse_vkey
from audit.source import Source, open_source, reader
from audit.verify import Known, Report, verify, verify_proof

OK, ERROR, USAGE, FAILED = 0, 1, 2, 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (AuditError, OSError) as error:
        sys.stderr.write(f"audit: {error}\n")
        return FAILED if options.command == "verify" else ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="verify a published log, or a .tlog-proof with --entry")
    check.add_argument("place", metavar="PATH|URL")
    check.add_argument("--vkey", type=Path, help="file with the log's verifier key")
    check.add_argument("--known-checkpoint", type=Path, action="append", default=[], metavar="FILE")
    check.add_argument("--payloads", type=Path, help="payload file of an export")
    check.add_argument("--entry", type=Path, help="record (leaf bytes, one line) that a .tlog-proof is about")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=_verify)
    one = commands.add_parser("prove", help="print the C2SP tlog-proof of a record")
    one.add_argument("place", metavar="PATH|URL")
    one.add_argument("seq", type=int)
    one.set_defaults(run=_prove)
    last = commands.add_parser("tail", help="print the newest records, one a line")
    last.add_argument("place", metavar="PATH|URL")
    last.add_argument("-n", "--lines", type=int, default=10)
    last.set_defaults(run=_tail)
    some = commands.add_parser("export", help="print records that fit, exact leaf bytes, one a line")
    some.add_argument("place", metavar="PATH|URL")
    some.add_argument("--since-ns", type=int)
    some.add_argument("--until-ns", type=int)
    some.add_argument("--kind", action="append", default=None)
    some.add_argument("--session", help="session or incident id")
    some.set_defaults(run=_export)
    return parser


def _verify(options: argparse.Namespace) -> int:
    vkey = parse_vkey(options.vkey.read_text("utf-8")) if options.vkey else None
    if options.place.endswith(".tlog-proof"):
        return _verify_proof(options, vkey)
    known = [Known(str(path), path.read_bytes()) for path in options.known_checkpoint]
    payloads = None
    if options.payloads:
        with options.payloads.open("rb") as lines:
            payloads = export.read_payloads(lines)
    return _say(options, verify(open_source(options.place), vkey, known, payloads))


def _verify_proof(options: argparse.Namespace, vkey: Verifier | None) -> int:
    if options.entry is None:
        sys.stderr.write("audit: a proof is about a record: give --entry FILE\n")
        return USAGE
    entry = options.entry.read_bytes().removesuffix(b"\n")
    return _say(options, verify_proof(Path(options.place).read_bytes(), entry, vkey))


def _say(options: argparse.Namespace, report: Report) -> int:
    sys.stdout.write((json.dumps(report.as_json()) if options.json else report.as_text()) + "\n")
    return OK if report.ok else FAILED


def _prove(options: argparse.Namespace) -> int:
    source = open_source(options.place)
    encoded, checkpoint = _checkpoint(source)
    if not 0 <= options.seq < checkpoint.size:
        raise Malformed(f"the log has {checkpoint.size} records, none is number {options.seq}")
    sys.stdout.write(str(prove(options.seq, reader(source, checkpoint.size), encoded)))
    return OK


def _tail(options: argparse.Namespace) -> int:
    source = open_source(options.place)
    _encoded, checkpoint = _checkpoint(source)
    start = max(0, checkpoint.size - options.lines)
    export.write_lines(export.published(source, checkpoint.size, start), sys.stdout.buffer)
    return OK


def _export(options: argparse.Namespace) -> int:
    source = open_source(options.place)
    _encoded, checkpoint = _checkpoint(source)
    kinds = frozenset(options.kind) if options.kind else None
    query = export.Query(options.since_ns, options.until_ns, kinds, options.session)
    export.write_lines(export.select(export.published(source, checkpoint.size), query), sys.stdout.buffer)
    return OK


def _checkpoint(source: Source) -> tuple[bytes, Checkpoint]:
    encoded = source.read(tiles.CHECKPOINT_PATH)
    if encoded is None:
        raise Malformed("checkpoint is missing: is this a published log?")
    return encoded, parse_checkpoint(encoded)[0]


if __name__ == "__main__":
    sys.exit(main())
