"""Proofs against the definitions of RFC 6962, written out naively here."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import merkle

LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(301)]
READ = merkle.reader_of(LEAVES)


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1 over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


ROOTS = [mth(LEAVES[:size]) for size in range(301)]


def test_roots_of_all_sizes_are_those_of_the_definition() -> None:
    tree = merkle.CompactRange()
    for size in range(301):
        assert merkle.root(size, READ) == ROOTS[size]
        assert tree.root() == ROOTS[size]
        tree.add(LEAVES[size])


def test_records_of_every_size_have_proofs_that_hold() -> None:
    for size in range(1, 301):
        for index in {0, size - 1, *range(size % 5, size, 5)}:
            path = merkle.inclusion(index, size, READ)
            assert merkle.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])


def test_pairs_of_sizes_have_consistency_proofs_that_hold() -> None:
    for new in range(301):
        for old in {0, new, *range(new % 7, new, 7)}:
            path = merkle.consistency(old, new, READ)
            assert merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], path)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_inclusion_proof_does_not_hold(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion(index, size, READ)
    other = data.draw(st.integers(0, size + 3).filter(lambda n: n != index))
    assert not merkle.verify_inclusion(LEAVES[index], other, size, path, ROOTS[size])
    assert not merkle.verify_inclusion(LEAVES[(index + 1) % 300], index, size, path, ROOTS[size])
    assert not merkle.verify_inclusion(LEAVES[index], index, size, path[:-1], ROOTS[size])
    assert not merkle.verify_inclusion(LEAVES[index], index, size, [*path, path[0]], ROOTS[size])
    at = data.draw(st.integers(0, len(path) - 1))
    flipped = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
    assert not merkle.verify_inclusion(LEAVES[index], index, size, flipped, ROOTS[size])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_consistency_proof_does_not_hold(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 300))
    old = data.draw(st.integers(1, new - 1))
    path = merkle.consistency(old, new, READ)
    forged = ROOTS[old - 1] if old > 1 else ROOTS[2]
    assert not merkle.verify_consistency(old, new, forged, ROOTS[new], path)
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new - 1], path)
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], path[:-1])
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], [*path, path[0]])
    assert not merkle.verify_consistency(new, old, ROOTS[new], ROOTS[old], path)


def test_trees_of_several_tile_levels_read_only_tile_hashes() -> None:
    size = 256 * 256 + 700
    leaves = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
    levels = {0: leaves}
    for level in (1, 2):
        below = levels[level - 1]
        levels[level] = [merkle.fold(below[i : i + 256]) for i in range(0, len(below) // 256 * 256, 256)]

    def read(level: int, start: int, count: int) -> list[bytes]:
        assert count <= 256
        return levels[level][start : start + count]

    tree = merkle.CompactRange()
    tree.extend(leaves)
    assert merkle.root(size, read) == tree.root()
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        path = merkle.inclusion(index, size, read)
        assert merkle.verify_inclusion(leaves[index], index, size, path, tree.root())


def test_a_record_outside_the_tree_has_no_proof() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="not in a tree"):
            merkle.inclusion(index, size, READ)
    with pytest.raises(ValueError, match="no prefix"):
        merkle.consistency(5, 4, READ)
