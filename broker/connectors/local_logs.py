"""Search log files from their end: a bounded window, bounded bytes, bounded lines, and the truth about what was cut.

A line's time is its leading RFC 3339 stamp, or the member ``at``, ``ts``, ``time`` or ``timestamp`` of a JSON line
(RFC 3339 text, or seconds since the epoch). A line without a time belongs to the line before it. Blocking: run it in a
thread.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import re2

from broker.errors import BadRequest, UpstreamFailed
from broker.model import Json

_BLOCK: Final = 65_536
_STAMP: Final = re.compile(rb"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)")
_TIME_KEYS: Final = ("at", "ts", "time", "timestamp")


@dataclass(frozen=True, slots=True)
class LogBounds:
    """Caps of one search."""

    scan_bytes_max: int
    lines_max: int
    line_bytes_max: int


@dataclass(slots=True)
class Found:
    """Matching lines in time order, newest last, and what was left out."""

    lines: list[dict[str, Json]] = field(default_factory=list)
    matched: int = 0
    scanned_bytes: int = 0
    cut: list[str] = field(default_factory=list)
    """Why the answer is not the whole truth; empty when it is."""


def matcher(pattern: str, mode: str) -> Callable[[str], bool]:
    """Return the test of one line: ``substring``, or ``re2`` (linear time). Raises ``BadRequest``."""
    if mode == "substring":
        return lambda text: pattern in text
    options = re2.Options()
    options.max_mem, options.log_errors = 1 << 20, False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        raise BadRequest(
            "field `arguments.pattern` is not an RE2 expression",
            code="request.arguments",
            remedy="use RE2 syntax (no look-around, no back-references), or mode `substring`",
        ) from None
    return lambda text: compiled.search(text) is not None


def search(files: Sequence[Path], test: Callable[[str], bool], *, from_s: int, to_s: int, bounds: LogBounds) -> Found:
    """Search ``files`` (oldest first) for lines in ``from_s`` <= time <= ``to_s``. Raises ``UpstreamFailed``."""
    found = Found()
    left = bounds.scan_bytes_max
    hits: list[list[dict[str, Json]]] = []
    for path in reversed(files):
        data, read_all, reached = _tail(path, from_s, left)
        left -= len(data)
        found.scanned_bytes += len(data)
        if not (read_all or reached):
            found.cut.append(f"only the last {len(data)} bytes of {path.name} were searched")
        timed = [(at, text) for at, text in _timed(data) if at is not None and from_s <= at <= to_s]
        hits.append([_line(found, path.name, at, text, bounds.line_bytes_max) for at, text in timed if test(text)])
        if reached:
            break
    found.lines = [line for group in reversed(hits) for line in group]
    found.matched = len(found.lines)
    if found.matched > bounds.lines_max:
        found.cut.append(f"the newest {bounds.lines_max} of {found.matched} matching lines")
        found.lines = found.lines[-bounds.lines_max :]
    return found


def _line(found: Found, name: str, at: float, text: str, bytes_max: int) -> dict[str, Json]:
    if len(text.encode()) > bytes_max:
        text = text.encode()[:bytes_max].decode(errors="ignore")
        reason = f"lines longer than {bytes_max} bytes are cut"
        if reason not in found.cut:
            found.cut.append(reason)
    return {"at": int(at), "file": name, "text": text}


def _tail(path: Path, from_s: int, bytes_max: int) -> tuple[bytes, bool, bool]:
    """Read backwards: (whole lines, whether the file was read to its start, whether a line before the window was met)."""
    try:
        # Not blocking: a FIFO in the place of a log file must not hold the thread.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise UpstreamFailed(f"the log file {path.name} cannot be read", sent=False, code="upstream.log_file") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UpstreamFailed(f"{path.name} is not a plain file", sent=False, code="upstream.log_file")
        size = start = status.st_size
        blocks: list[bytes] = []
        while start > 0 and size - start < bytes_max:
            length = min(_BLOCK, start, bytes_max - (size - start))
            start -= length
            file.seek(start)
            blocks.append(file.read(length))
            if _first_time(blocks[-1]) < from_s:
                break
    data = b"".join(reversed(blocks))
    reached = _first_time(data) < from_s
    if start > 0:
        data = data[data.find(b"\n") + 1 :]  # a line cut in half says nothing
    return data, start == 0, reached


def _first_time(block: bytes) -> float:
    """Time of the first line that has one, without the line that may be cut; infinity where none has."""
    for line in block.split(b"\n")[1:]:
        at = _time(line)
        if at is not None:
            return at
    return float("inf")


def _timed(data: bytes) -> Iterator[tuple[float | None, str]]:
    at: float | None = None
    for raw in data.split(b"\n"):
        if raw:
            own = _time(raw)
            at = at if own is None else own
            yield at, raw.decode("utf-8", errors="replace")


def _time(line: bytes) -> float | None:
    match = _STAMP.match(line)
    if match:
        return _parsed(match[1].decode())
    if not line.startswith(b"{"):
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    for key in _TIME_KEYS:
        stamp = value.get(key)
        if isinstance(stamp, int | float) and not isinstance(stamp, bool):
            return float(stamp)
        if isinstance(stamp, str):
            return _parsed(stamp)
    return None


def _parsed(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
