"""Sign-ins in the database: hashed, bounded, ended everywhere at once; on both databases."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable

import pytest
from sqlalchemy import select

from broker.clock import SeededClock
from broker.errors import Unauthenticated
from broker.logins import Limits, Logins
from broker.store import Store
from broker.store.tables import login
from tests.stores import human

ANN, BOB = human("ann", "oncall", "auditor"), human("bob", "security")
LIMITS = Limits(idle=100, absolute=1_000)
KEY = b"k" * 32


@pytest.fixture
def logins(store: Store, clock: SeededClock) -> Logins:
    return Logins(store, clock, LIMITS, KEY)


def refused(reading: Awaitable[object]) -> str:
    async def main() -> object:
        return await reading

    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(main())
    return caught.value.error_code


def test_the_value_brings_the_person_back_and_the_database_knows_its_hash_only(logins: Logins, store: Store) -> None:
    value = asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    who = asyncio.run(logins.principal(value))
    assert (who.subject, who.tenant, who.acr, who.auth_time) == (ANN.subject, ANN.tenant, ANN.acr, ANN.auth_time)
    assert who.actor is None
    digest = logins.id_of(value)
    assert digest != hashlib.sha256(value.encode()).hexdigest(), "under the gate's key"
    (row,) = asyncio.run(store.read(lambda c: c.execute(select(login).where(login.c.id == digest)).all()))
    assert value not in str(row)
    assert len(value) == 43
    assert value != asyncio.run(logins.open(ANN, issuer="dev", sid="s"))


def test_under_another_key_nobody_is_signed_in(logins: Logins, store: Store, clock: SeededClock) -> None:
    value = asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    assert refused(Logins(store, clock, LIMITS, b"n" * 32).principal(value)) == "login.unknown"
    assert asyncio.run(logins.principal(value)).subject == ANN.subject


@pytest.mark.parametrize("value", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", "A" * 43])
def test_any_other_value_is_nobody(logins: Logins, value: str) -> None:
    assert refused(logins.principal(value)) == "login.unknown"


def test_it_ends_without_use_and_at_its_limit(logins: Logins, clock: SeededClock) -> None:
    idle, used = (asyncio.run(logins.open(ANN, issuer="dev", sid="s")) for _ in range(2))
    for _ in range(10):
        clock.advance(99)
        asyncio.run(logins.principal(used))
    assert refused(logins.principal(idle)) == "login.idle"
    clock.advance(10)
    assert refused(logins.principal(used)) == "login.expired"


@pytest.mark.parametrize(("used_s", "after_s", "code"), [(0, 100, "login.idle"), (99, 1_000, "login.expired")])
def test_who_was_told_that_it_is_over_is_not_signed_in_again_when_the_clock_goes_back(
    logins: Logins, clock: SeededClock, used_s: int, after_s: int, code: str
) -> None:
    value = asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    clock.advance(used_s)
    asyncio.run(logins.principal(value))
    clock.advance(after_s)
    assert [refused(logins.principal(value)) for _ in range(2)] == [code, code]
    clock.step_wall(-after_s)
    assert refused(logins.principal(value)) == "login.closed"


def test_a_page_that_refreshes_itself_keeps_nobody_signed_in(logins: Logins, clock: SeededClock) -> None:
    value = asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    clock.advance(99)
    asyncio.run(logins.principal(value, passive=True))
    clock.advance(1)
    assert refused(logins.principal(value)) == "login.idle"


def test_a_new_sign_in_ends_the_one_that_the_browser_had_and_no_other(logins: Logins) -> None:
    first, other = (asyncio.run(logins.open(ANN, issuer="dev", sid="s")) for _ in range(2))
    second = asyncio.run(logins.open(BOB, issuer="dev", sid="t", instead_of=first))
    assert refused(logins.principal(first)) == "login.closed"
    assert asyncio.run(logins.principal(second)).subject == BOB.subject
    assert asyncio.run(logins.principal(other)).subject == ANN.subject


@pytest.mark.parametrize(
    ("named", "left"),
    [
        ({"subject": "dev:ann"}, {"bob"}),
        ({"sid": "s-1"}, {"ann-2", "bob"}),
        ({"sid": "s-1", "subject": "dev:ann"}, {"ann-2", "bob"}),
        ({"sid": "s-1", "subject": "dev:bob"}, {"ann-1", "ann-2", "bob"}),
        ({}, {"ann-1", "ann-2", "bob"}),
    ],
)
def test_the_providers_logout_ends_what_it_names_on_every_replica(
    store: Store, clock: SeededClock, named: dict[str, str], left: set[str]
) -> None:
    here, there = Logins(store, clock, LIMITS, KEY), Logins(store, clock, LIMITS, KEY)

    async def main() -> set[str]:
        await here.close_all("dev", subject="dev:ann")
        await here.close_all("dev", subject="dev:bob")
        values = {
            "ann-1": await here.open(ANN, issuer="dev", sid="s-1"),
            "ann-2": await here.open(ANN, issuer="dev", sid="s-2"),
            "bob": await here.open(BOB, issuer="dev", sid="s-3"),
        }
        await here.close_all("another", **named)
        await here.close_all("dev", **named)
        found = set()
        for name, value in values.items():
            with contextlib.suppress(Unauthenticated):
                await there.principal(value)
                found.add(name)
        return found

    assert asyncio.run(main()) == left


def test_what_ended_a_day_ago_is_forgotten(logins: Logins, store: Store, clock: SeededClock) -> None:
    asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    clock.advance(1_000 + 86_400 + 1)
    asyncio.run(logins.open(ANN, issuer="dev", sid="s"))
    rows = asyncio.run(store.read(lambda c: c.execute(select(login.c.opened_at)).all()))
    assert {row.opened_at for row in rows} == {clock.now_ns() // 10**9}
