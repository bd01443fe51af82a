"""The laws of the fuzz targets over their seeds and mutations of them, the same ones each time."""

import random

import pytest

from tests.fuzz.targets import TARGETS, seeds

ROUNDS = {"strict_reader": 4_000, "token_verifier": 1_500, "redaction_walk": 150}
TOKENS = [b'"', b"\\", b"{", b"}", b":", b",", b"[", b"\x00", b"\xff", b"e9", b".", b"=", b" ", b"\n", b"\\u0061", b"@"]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_law_of_a_target_holds_for_its_seeds_and_their_mutations(name: str) -> None:
    target, chance = TARGETS[name], random.Random(7)
    known = seeds()[name]
    for seed in known:
        target(seed)
    for _ in range(ROUNDS[name]):
        target(_mutated(chance, chance.choice(known), chance.choice(known)))


def _mutated(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """A few random changes: a byte, a word, a part left out, doubled, or taken from another seed."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(made))
        to = min(len(made), at + chance.randint(0, 8))
        match chance.randint(0, 4):
            case 0:
                made[at:to] = b""
            case 1:
                made[at:at] = chance.choice(TOKENS)
            case 2:
                made[at:to] = bytes(chance.randrange(256) for _ in range(to - at))
            case 3:
                made[at:at] = made[at:to] * 2
            case _:
                made[at:at] = other[chance.randint(0, len(other)) :][:16]
    return bytes(made)
