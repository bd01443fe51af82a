"""Policy activations: a sequence that only grows, one winner, rollback only to what was active."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import Conflict
from broker.store import Store, activations
from tests.stores import KINDS, open_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path)
    yield opened
    opened.close()


def keep(store: Store, digest: str) -> None:
    asyncio.run(
        store.write(
            lambda c: activations.keep(c, digest=digest, revision="r-" + digest, signer="k", bundle=digest.encode())
        )
    )


def activate(store: Store, digest: str, after: int) -> int:
    return asyncio.run(
        store.write(lambda c: activations.activate(c, digest=digest, by="dev:ann", now_s=7, after=after))
    )


def test_the_newest_activation_is_the_active_one_and_the_old_ones_stay(store: Store) -> None:
    assert asyncio.run(store.read(activations.active)) is None
    for digest in ("d1", "d2"):
        keep(store, digest)
    assert [activate(store, "d1", 0), activate(store, "d2", 1), activate(store, "d1", 2)] == [1, 2, 3]
    assert asyncio.run(store.read(activations.active)) == activations.Activation(3, "r-d1", "d1", "k", "dev:ann", 7)
    past = asyncio.run(store.read(lambda c: activations.history(c, 2)))
    assert [(one.seq, one.digest) for one in past] == [(3, "d1"), (2, "d2")]


def test_only_a_bundle_that_was_active_may_be_rolled_back_to(store: Store) -> None:
    for digest in ("d1", "d2"):
        keep(store, digest)
    activate(store, "d1", 0)
    assert asyncio.run(store.read(lambda c: activations.was_active(c, "d1")))
    assert not asyncio.run(store.read(lambda c: activations.was_active(c, "d2")))


def test_the_bytes_of_a_bundle_come_back_and_are_kept_once(store: Store) -> None:
    keep(store, "d1")
    asyncio.run(store.write(lambda c: activations.keep(c, digest="d1", revision="x", signer="eve", bundle=b"forged")))
    assert asyncio.run(store.read(lambda c: activations.bundle(c, "d1"))) == b"d1"
    assert asyncio.run(store.read(lambda c: activations.bundle(c, "d2"))) is None


def test_an_unknown_bundle_cannot_be_activated(store: Store) -> None:
    with pytest.raises(Conflict):
        activate(store, "never-kept", 0)


@pytest.mark.parametrize("after", [0, 2, -1])
def test_an_activation_on_top_of_another_than_the_active_one_is_refused(store: Store, after: int) -> None:
    keep(store, "d1")
    activate(store, "d1", 0)
    with pytest.raises(Conflict):
        activate(store, "d1", after)
    assert len(asyncio.run(store.read(lambda c: activations.history(c, 10)))) == 1


def test_of_replicas_that_activate_at_once_one_wins(store: Store) -> None:
    for number in range(8):
        keep(store, f"d{number}")

    async def main() -> list[object]:
        racers = (
            store.write(lambda c, n=number: activations.activate(c, digest=f"d{n}", by="dev:ann", now_s=7, after=0))
            for number in range(8)
        )
        return await asyncio.gather(*racers, return_exceptions=True)

    answers = asyncio.run(main())
    assert answers.count(1) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
