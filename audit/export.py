"""Exports records: exact leaf bytes, one a line, as an auditor can hash them with sha256sum.

Canonical JSON has no raw newline, so a line is a record and a record is a line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from audit import canonical, tiles
from audit.canonical import Plain
from audit.errors import Malformed, RecordInvalid
from audit.payload import Opened
from audit.source import Source, bundle


@dataclass(frozen=True, slots=True)
class Query:
    """Which records: all that fit every given field. Times are nanoseconds, `until` is excluded."""

    since: int | None = None
    until: int | None = None
    kinds: frozenset[str] | None = None
    stream: str | None = None

    def fits(self, record: Mapping[str, Plain]) -> bool:
        """Whether a record is asked for."""
        time_ns = int(str(record["time_ns"]))
        in_time = (self.since is None or time_ns >= self.since) and (self.until is None or time_ns < self.until)
        return in_time and (self.kinds is None or record["kind"] in self.kinds) and self._in_stream(record)

    def _in_stream(self, record: Mapping[str, Plain]) -> bool:
        streams = record.get("streams", [])
        assert isinstance(streams, list)
        return self.stream is None or any(isinstance(one, dict) and one.get("id") == self.stream for one in streams)


def published(source: Source, size: int, start: int = 0) -> Iterator[bytes]:
    """Yield the entries of a published log of `size` records from number `start` on; raises Malformed."""
    for index, width in tiles.spans(0, start, size):
        yield from bundle(source, index, width)[max(0, start - index * 256) :]


def select(entries: Iterable[bytes], query: Query) -> Iterator[bytes]:
    """Yield those entries that fit; raises RecordInvalid for one that is no record."""
    for entry in entries:
        if query.fits(canonical.decode(entry)):
            yield entry


def write_lines(entries: Iterable[bytes], out: BinaryIO) -> int:
    """Write entries as lines; return their number."""
    count = 0
    for entry in entries:
        out.write(entry + b"\n")
        count += 1
    return count


def write_payload(event_id: str, opened: Opened, out: BinaryIO) -> None:
    """Write a payload in clear, with the salt that proves it, as one line of a payload file."""
    line = {"id": event_id, "salt": opened.salt.hex(), "payload": base64.b64encode(opened.plaintext).decode("ascii")}
    out.write(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) + b"\n")


def read_payloads(lines: Iterable[bytes]) -> dict[str, Opened]:
    """Read a payload file: event id to payload.

    Raises:
        Malformed: a line is not of that form.
    """
    found: dict[str, Opened] = {}
    for number, line in enumerate(lines, 1):
        try:
            one = orjson.loads(line)
            found[one["id"]] = Opened(bytes.fromhex(one["salt"]), base64.b64decode(one["payload"], validate=True))
        except (KeyError, TypeError, ValueError, RecordInvalid):
            raise Malformed(
                f"payload file, line {number}: not an object with id, salt (hex), payload (base64)"
            ) from None
    return found
