"""RFC 6962 Merkle tree: hashes, proofs, and a compact range.

A tree is never held whole. `Read` answers `read(level, start, count)` with `count` hashes of tile level
`level`: level 0 are the leaf hashes, each hash of level n+1 is the root of a full tile of 256 hashes of level n.
A published folder, a database and a list of leaves can all answer that, so one set of functions serves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

Read: TypeAlias = Callable[[int, int, int], Sequence[bytes]]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Root over a power of two of equally high subtrees (a full tile: 256)."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def root(size: int, read: Read) -> bytes:
    """Root of the first `size` leaves."""
    return _range(0, size, read) if size else EMPTY_ROOT


def inclusion(index: int, size: int, read: Read) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1), lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(middle, high, read))
            high = middle
        else:
            path.append(_range(low, middle, read))
            low = middle
    return path[::-1]


def consistency(old: int, new: int, read: Read) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is a prefix of that of `new` (RFC 6962 §2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves has no prefix of {old}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    low, high, whole = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(middle, high, read))
            high = middle
        else:
            path.append(_range(low, middle, read))
            low, whole = middle, False
    if not whole:
        path.append(_range(low, high, read))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root_hash: bytes) -> bool:
    """Whether `path` leads from `leaf` at `index` to `root_hash` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, computed = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            computed = node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and computed == root_hash


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the old tree is a prefix of the new one (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        return not path and (old_root == EMPTY_ROOT if old == 0 else old_root == new_root)
    proof = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = proof[0]
    for sibling in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


class CompactRange:
    """The root of a growing tree in at most 64 hashes: one for each full subtree, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append one leaf hash."""
        merged, count = leaf, self.size
        while count & 1:
            merged = node_hash(self._subtrees.pop(), merged)
            count >>= 1
        self._subtrees.append(merged)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes in order."""
        for leaf in leaves:
            self.add(leaf)

    def root(self) -> bytes:
        """Root of everything added so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        computed = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            computed = node_hash(left, computed)
        return computed


def reader_of(leaves: Sequence[bytes]) -> Read:
    """Answer `Read` from a list of leaf hashes held in memory."""

    def read(level: int, start: int, count: int) -> Sequence[bytes]:
        if level == 0:
            return leaves[start : start + count]
        below = read(level - 1, start * TILE_WIDTH, count * TILE_WIDTH)
        return [fold(below[i : i + TILE_WIDTH]) for i in range(0, len(below), TILE_WIDTH)]

    return read


def _split(width: int) -> int:
    """Largest power of two smaller than `width` (which is at least 2)."""
    return 1 << (width - 1).bit_length() - 1


def _range(low: int, high: int, read: Read) -> bytes:
    """Hash of the leaves [low, high); `low` is a multiple of the largest power of two in the range."""
    width = high - low
    if width & (width - 1):
        middle = low + _split(width)
        return node_hash(_range(low, middle, read), _range(middle, high, read))
    height = width.bit_length() - 1
    level, within = divmod(height, TILE_HEIGHT)
    count = 1 << within
    hashes = read(level, (low >> height) << within, count)
    if len(hashes) != count:
        raise ValueError(f"tile level {level} lacks hashes at {low >> height}")
    return fold(hashes)
