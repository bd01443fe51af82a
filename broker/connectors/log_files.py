"""Log files of this machine, rotated ones included, read from their newest end.

A file is named by its path; ``path.1``, ``path.2.gz`` and ``path-20260101`` beside it are its older parts. All are opened
before any is read, and once more when one of them was rotated meanwhile, so that no line is lost or read twice. Blocking:
run it in a thread; ``stop`` ends it early.
"""

import contextlib
import gzip
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from broker.connectors.log_lines import LogLine, parsed_line, time_of
from broker.errors import UpstreamFailed

_BLOCK: Final = 65_536
_ROTATED: Final = re.compile(r"[.-](\d{1,10})(?:\.(?:log|gz|log\.gz))?")
_ROTATED_MAX: Final = 64
_OPENED_MAX: Final = 100
_STEP: Final = 2000
"""Lines between two looks at ``stop``."""


@dataclass(slots=True)
class Scan:
    """What was read, oldest first, and what was left out."""

    lines: list[LogLine] = field(default_factory=list)
    read_bytes: int = 0
    cut: list[str] = field(default_factory=list)


def scan(  # noqa: PLR0913 - one keyword a bound
    paths: Sequence[Path],
    *,
    since_s: int,
    until_s: int,
    bytes_max: int,
    stop: threading.Event,
    roots: Sequence[Path] = (),
) -> Scan:
    """All lines with ``since_s`` <= time <= ``until_s`` of the files (each with its rotated parts), in order of time.

    A line without a time joins the line before it. Raises ``UpstreamFailed`` where a named file cannot be read, or
    leads out of ``roots`` (where none are given: out of its own folder).
    """
    found = Scan()
    groups: list[list[LogLine]] = []
    for path in paths:
        with ExitStack() as stack:
            parts = _opened(path, stack, found.cut, roots)
            for name, file in reversed(parts):
                data, whole, reached = _newest(name, file, since_s, bytes_max - found.read_bytes)
                found.read_bytes += len(data)
                if not (whole or reached):
                    found.cut.append(f"only the last {len(data)} bytes of {name} were searched")
                groups.append(list(_within(data, since_s, until_s, stop)))
                if reached or not whole:
                    break
    found.lines = sorted((line for group in reversed(groups) for line in group), key=lambda line: line.at)
    return found


def tail(file: BinaryIO, from_s: int, bytes_max: int) -> tuple[bytes, bool, bool]:
    """Read backwards: (whole lines, whether the file was read to its start, whether a line before the window was met)."""
    size = start = os.fstat(file.fileno()).st_size
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


def opened(path: Path, *, roots: Sequence[Path] = (), found: bool = False) -> BinaryIO:
    """Open one plain file of ``roots`` (none: of its own folder); one that was only ``found`` is no link at all.

    Who may write beside a log may not choose by a link what the gate reads: what counts is the file that was opened.
    Raises ``UpstreamFailed`` (``upstream.log_file``).
    """
    try:
        # Not blocking: a FIFO in the place of a log file must not hold the thread.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if found else 0)
        descriptor = os.open(path, flags)
    except OSError:
        raise UpstreamFailed(f"the log file {path.name} cannot be read", sent=False, code="upstream.log_file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UpstreamFailed(f"{path.name} is not a plain file", sent=False, code="upstream.log_file")
    if not _beneath(descriptor, path, roots or (path.parent,)):
        os.close(descriptor)
        raise UpstreamFailed(
            f"{path.name} leads out of the folders of logs",
            sent=False,
            code="upstream.log_file",
            remedy="name the file itself, or its folder in `roots` of the connector",
        )
    return os.fdopen(descriptor, "rb")


def _beneath(descriptor: int, path: Path, roots: Sequence[Path]) -> bool:
    """Whether the opened file lies in one of the folders, whatever its name means by now."""
    try:
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:  # no such place on this system: the name must still mean the file
        real = Path(os.path.realpath(path))
        here, opened_as = real.stat(), os.fstat(descriptor)
        if (here.st_dev, here.st_ino) != (opened_as.st_dev, opened_as.st_ino):
            return False
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)


def _opened(path: Path, stack: ExitStack, cut: list[str], roots: Sequence[Path]) -> list[tuple[str, BinaryIO]]:
    """The file and its rotated parts, oldest first; opened again while a rotation changes what the names mean.

    A rotation renames the older parts first and the newest last: all names must mean the same before and after.
    """
    for _ in range(_OPENED_MAX):
        with ExitStack() as tried:
            before = _rotated(path)
            newest = tried.enter_context(opened(path, roots=roots))
            parts = [(path.name, newest)]
            seen, unread = {_identity(newest)}, list[str]()
            for older in before:
                try:
                    file = tried.enter_context(opened(older, roots=roots, found=True))
                except UpstreamFailed as error:
                    # One that is gone was deleted or renamed since it was named: the check below decides.
                    unread.append(error.detail)
                    continue
                if _identity(file) not in seen:
                    seen.add(_identity(file))
                    parts.append((older.name, file))
            with opened(path, roots=roots) as again:
                if _identity(again) == _identity(newest) and _rotated(path) == before:
                    cut += unread
                    stack.enter_context(tried.pop_all())
                    return parts[::-1]
    raise UpstreamFailed(f"the log file {path.name} is rotated all the time", sent=False, code="upstream.log_file")


def _rotated(path: Path) -> dict[Path, tuple[int, int]]:
    """Older parts, newest first (by count upwards, by date downwards), and which file each name means."""
    named = []
    for entry in path.parent.iterdir():
        match = _ROTATED.fullmatch(entry.name.removeprefix(path.name)) if entry.name.startswith(path.name) else None
        if match:
            number = int(match[1])
            dated = len(match[1]) >= 8
            named.append((dated, -number if dated else number, entry))
    found = {}
    for _, _, entry in sorted(named)[:_ROTATED_MAX]:
        with contextlib.suppress(FileNotFoundError):
            status = entry.lstat()
            found[entry] = status.st_dev, status.st_ino
    return found


def _identity(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _newest(name: str, file: BinaryIO, since_s: int, bytes_max: int) -> tuple[bytes, bool, bool]:
    """As ``tail``; a compressed part is unpacked from its start, and is not whole when that is too much."""
    if bytes_max <= 0:
        return b"", False, False
    if not name.endswith(".gz"):
        return tail(file, since_s, bytes_max)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            data = unpacked.read(bytes_max + 1)
    except (OSError, EOFError, zlib.error):
        raise UpstreamFailed(f"the log file {name} cannot be unpacked", sent=False, code="upstream.log_file") from None
    if len(data) > bytes_max:
        return b"", False, False
    return data, True, _first_time(b"\n" + data) < since_s


def _first_time(block: bytes) -> float:
    """Time of the first line that has one, without the line that may be cut; infinity where none has."""
    for line in block.split(b"\n")[1:]:
        at = time_of(line.decode("utf-8", errors="replace"))
        if at is not None:
            return at
    return float("inf")


def _within(data: bytes, since_s: int, until_s: int, stop: threading.Event) -> Iterator[LogLine]:
    """The lines of the window; one without a time has that of the line before it, and no message."""
    at: float | None = None
    level = ""
    for number, raw in enumerate(data.split(b"\n")):
        if number % _STEP == 0 and stop.is_set():
            return
        text = raw.decode("utf-8", errors="replace").rstrip("\r")
        if not text:
            continue
        line = parsed_line(text)
        if line is not None:
            at, level = line.at, line.level
        elif at is not None:
            line = LogLine(at, level, "", text)
        if line is not None and since_s <= line.at <= until_s:
            yield line
