"""Reads a published log from a folder or over HTTP. Every read is bounded in size and time."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from audit import tiles
from audit.errors import Malformed
from audit.merkle import TILE_WIDTH

MAX_BYTES: Final = 256 * (2 + 65_535)
_SECONDS: Final = 30


class Source(Protocol):
    """Where a published log's files come from."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such file; raises Malformed when it cannot be read."""
        ...

    def partials(self, path: str) -> list[int]:
        """Return the widths of the partial forms of a full tile or bundle that are there; [] where nobody can tell."""
        ...


class Folder(Source):
    """A published log in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """See Source."""
        try:
            with (self._root / path).open("rb") as file:
                return _bounded(file.read(MAX_BYTES + 1), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Malformed(f"{path}: {error.strerror}") from None

    def partials(self, path: str) -> list[int]:
        """See Source."""
        folder = self._root / f"{path}.p"
        # A name with a leading dot is a file that a crash left half written; no reader ever asks for it.
        names = [entry.name for entry in folder.iterdir() if entry.name[0] != "."] if folder.is_dir() else []
        strange = [name for name in names if not (name.isascii() and name.isdigit() and 0 < int(name) < TILE_WIDTH)]
        if strange:
            raise Malformed(f"{path}.p holds `{strange[0][:40]}`, which is no partial form of it")
        return sorted(map(int, names))


class Web(Source):
    """A published log under an http or https address."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, path: str) -> bytes | None:
        """See Source."""
        request = urllib.request.Request(f"{self._url}/{path}", headers={"User-Agent": "wicketgate-audit"})  # noqa: S310 - open_source admits only http and https
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                return _bounded(answer.read(MAX_BYTES + 1), path)
        except urllib.error.HTTPError as error:
            if error.code in {404, 410}:
                return None
            raise Malformed(f"{path}: the server answers {error.code}") from None
        except (OSError, ValueError) as error:
            raise Malformed(f"{path}: {error}") from None

    def partials(self, path: str) -> list[int]:  # noqa: ARG002 - a server does not list
        """See Source."""
        return []


def open_source(place: str) -> Source:
    """Open a folder or an address."""
    return Web(place) if place.startswith(("http://", "https://")) else Folder(Path(place))


def tile(source: Source, level: int, index: int, width: int) -> list[bytes]:
    """Return the first `width` hashes of a tile; a full tile serves where the partial one is gone.

    Raises:
        Malformed: missing, or of a wrong length.
    """
    return _piece(source, lambda w: tiles.tile_path(level, index, w), tiles.split_tile, width)


def bundle(source: Source, index: int, width: int) -> list[bytes]:
    """Return the first `width` entries of a bundle; raises as `tile`."""
    return _piece(source, lambda w: tiles.bundle_path(index, w), tiles.split_bundle, width)


def reader(source: Source, size: int) -> Callable[[int, int, int], Sequence[bytes]]:
    """Answer audit.merkle.Read for the published tree of `size` records."""

    def read(level: int, start: int, count: int) -> Sequence[bytes]:
        index, within = divmod(start, TILE_WIDTH)
        width = min(TILE_WIDTH, (size >> (8 * level)) - index * TILE_WIDTH)
        return tile(source, level, index, width)[within : within + count]

    return read


def _piece(
    source: Source, path: Callable[[int], str], split: Callable[[bytes, int], list[bytes]], width: int
) -> list[bytes]:
    for available in dict.fromkeys((width, TILE_WIDTH)):
        content = source.read(path(available))
        if content is not None:
            try:
                return split(content, available)[:width]
            except Malformed as error:
                raise Malformed(f"{path(available)}: {error}") from None
    raise Malformed(f"{path(width)} is missing")


def _bounded(content: bytes, path: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise Malformed(f"{path} is longer than any such file can be")
    return content
