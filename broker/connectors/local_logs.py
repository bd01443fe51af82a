"""Search log files from their end: a bounded window, bounded bytes, bounded lines, and the truth about what was cut.

What a line's time is, ``log_lines.py`` says. A line without a time belongs to the line before it. Blocking: run it in a
thread.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import re2

from broker.connectors.log_files import opened, tail
from broker.connectors.log_lines import time_of
from broker.errors import BadRequest
from broker.model import Json


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
        with opened(path) as file:
            data, read_all, reached = tail(file, from_s, left)
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


def _timed(data: bytes) -> Iterator[tuple[float | None, str]]:
    at: float | None = None
    for raw in data.split(b"\n"):
        if raw:
            text = raw.decode("utf-8", errors="replace")
            own = time_of(text)
            at = at if own is None else own
            yield at, text
