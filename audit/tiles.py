"""C2SP tlog-tiles (c2sp.org/tlog-tiles): paths, hash tiles and entry bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from audit.errors import Malformed
from audit.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH

CHECKPOINT_PATH: Final = "checkpoint"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Path of the tile of hashes at `level`; `width` < 256 names a partial tile."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Path of the bundle of entries that belong to level 0 tile `index`."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def join_tile(hashes: Sequence[bytes]) -> bytes:
    """Write a tile: the hashes, one after the other."""
    return b"".join(hashes)


def split_tile(tile: bytes, width: int) -> list[bytes]:
    """Read a tile that must hold exactly `width` hashes.

    Raises:
        Malformed: another length.
    """
    if len(tile) != width * HASH_BYTES:
        raise Malformed(f"the tile has {len(tile)} bytes instead of {width * HASH_BYTES}")
    return [tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)]


def join_bundle(entries: Sequence[bytes]) -> bytes:
    """Write a bundle: each entry behind its length in 16 bits, big-endian."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_bundle(bundle: bytes, width: int) -> list[bytes]:
    """Read a bundle that must hold exactly `width` entries and not a byte more.

    Raises:
        Malformed: too short, too long, or another number of entries.
    """
    entries: list[bytes] = []
    at = 0
    for number in range(width):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if start > len(bundle) or at > len(bundle):
            raise Malformed(f"the bundle ends inside entry {number} of {width}")
        entries.append(bundle[start:at])
    if at != len(bundle):
        raise Malformed(f"the bundle has {len(bundle) - at} bytes after its last entry")
    return entries


def spans(level: int, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (tile index, width) of the tiles at `level` that a tree of `size` has from leaf `start` on."""
    hashes = size >> (TILE_HEIGHT * level)
    first = start >> (TILE_HEIGHT * (level + 1))
    for index in range(first, (hashes + TILE_WIDTH - 1) // TILE_WIDTH):
        yield index, min(TILE_WIDTH, hashes - index * TILE_WIDTH)


def _number(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def _partial(width: int) -> str:
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"a tile holds 1 to {TILE_WIDTH} hashes, not {width}")
    return "" if width == TILE_WIDTH else f".p/{width}"
