"""Roles that were lost since: what waits is bounded by the latest token."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from broker.clock import SeededClock
from broker.model import Party, PartyKind, Principal
from broker.parties import NOTED_SECONDS, Parties
from broker.store import Store
from tests.stores import KINDS, fresh_tenant, open_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path_factory.mktemp("state"))
    yield opened
    opened.close()


def _person(tenant: str, *roles: str, issued_at: int = 0) -> Principal:
    ann = Party("dev:ann", PartyKind.HUMAN, frozenset(roles))
    return Principal(tenant, ann, "https://id", 1, issued_at=issued_at)


def test_a_role_that_the_latest_token_does_not_say_is_gone_from_what_waits(store: Store) -> None:
    async def main() -> None:
        tenant, parties = fresh_tenant(), Parties(store, SeededClock())
        stored = _person(tenant, "oncall", "security")
        await parties.note(stored)
        assert (await parties.bounded(stored)).subject.roles == {"oncall", "security"}
        await parties.note(_person(tenant, "security"))
        other = Parties(store, SeededClock())
        assert (await other.bounded(stored)).subject.roles == {"security"}
        review = {"reviewer": "dev:ann", "roles": ["oncall", "security"]}
        [bounded] = await other.bounded_reviews(tenant, [{"id": "apr", "reviews": [review]}])
        assert bounded["reviews"][0]["roles"] == ["security"]

    asyncio.run(main())


def test_a_new_role_never_widens_what_waits_and_another_tenant_is_somebody_else(store: Store) -> None:
    async def main() -> None:
        tenant, parties = fresh_tenant(), Parties(store, SeededClock())
        await parties.note(_person(tenant, "oncall", "security"))
        assert (await parties.bounded(_person(tenant, "oncall"))).subject.roles == {"oncall"}
        await parties.note(_person(tenant))
        elsewhere = _person(fresh_tenant(), "oncall")
        assert (await parties.bounded(elsewhere)).subject.roles == {"oncall"}

    asyncio.run(main())


def test_an_agent_on_behalf_says_nothing_about_the_person(store: Store) -> None:
    async def main() -> None:
        tenant, parties = fresh_tenant(), Parties(store, SeededClock())
        await parties.note(_person(tenant, "oncall"))
        agent = Party("dev:agent-1", PartyKind.AGENT, frozenset())
        await parties.note(replace(_person(tenant), actor=agent))
        assert (await parties.bounded(_person(tenant, "oncall"))).subject.roles == {"oncall"}

    asyncio.run(main())


def test_the_token_that_was_issued_last_counts_whichever_replica_saw_it(store: Store) -> None:
    async def main() -> None:
        tenant, here, there = fresh_tenant(), Parties(store, SeededClock()), Parties(store, SeededClock())
        waiting = _person(tenant, "oncall", "security")
        await here.note(_person(tenant, "oncall", issued_at=10))
        await there.note(_person(tenant, "oncall", "security", issued_at=20))
        assert (await here.bounded(waiting)).subject.roles == {"oncall", "security"}
        await here.note(_person(tenant, "oncall", issued_at=30))
        assert (await there.bounded(waiting)).subject.roles == {"oncall"}, "a role given and taken again is gone"
        await there.note(_person(tenant, "oncall", "security", issued_at=20))
        assert (await here.bounded(waiting)).subject.roles == {"oncall"}, "an older token gives nothing back"

    asyncio.run(main())


def test_of_two_tokens_of_one_second_only_what_both_say_counts(store: Store) -> None:
    async def main() -> None:
        tenant, parties = fresh_tenant(), Parties(store, SeededClock())
        for roles in (("oncall", "security"), ("security",), ("oncall", "security")):
            await parties.note(_person(tenant, *roles, issued_at=10))
        assert (await parties.bounded(_person(tenant, "oncall", "security"))).subject.roles == {"security"}

    asyncio.run(main())


def test_a_token_is_written_again_after_a_moment(store: Store) -> None:
    async def main() -> None:
        clock = SeededClock()
        parties, ann = Parties(store, clock), _person(fresh_tenant(), "oncall", issued_at=10)
        await parties.note(ann)
        await store.write(lambda c: c.exec_driver_sql("DELETE FROM party"))
        await parties.note(ann)
        waiting = replace(ann, subject=replace(ann.subject, roles=frozenset({"oncall", "security"})))
        assert (await parties.bounded(waiting)).subject.roles == {"oncall", "security"}
        clock.advance(NOTED_SECONDS)
        await parties.note(ann)
        assert (await parties.bounded(waiting)).subject.roles == {"oncall"}

    asyncio.run(main())
