"""The kill switch: who may pull it, what it stops, where and for how long."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker.clock import SeededClock
from broker.errors import BadRequest, Conflict, Denied, StoreUnavailable
from broker.killswitch import POLL_SECONDS, KillSwitch
from broker.model import Principal
from broker.store import Store
from tests.stores import KINDS, PATIENT, agent, fresh_tenant, fresh_url, human, open_store


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


@pytest.fixture
def switch(store: Store, clock: SeededClock) -> KillSwitch:
    return KillSwitch(store, clock, roles=["oncall"], roles_for_all=["security"])


def killed(switch: KillSwitch, tenant: str, acting: str = "dev:agent-1", connector: str = "local") -> bool:
    return asyncio.run(switch.is_killed(agent(acting.removeprefix("dev:"), tenant), connector))


def pull(switch: KillSwitch, principal: Principal, scope: str, target: str = "") -> bool:
    return asyncio.run(switch.pull(principal, scope, target, "it misbehaves \x00"))


def resume(switch: KillSwitch, principal: Principal, scope: str, target: str = "") -> bool:
    mark = f"resume.{principal.acting.id}"
    pulled = asyncio.run(switch.resuming(principal, scope, target, mark))
    return asyncio.run(switch.resume(principal, scope, target, mark)) and pulled


def test_a_stopped_agent_is_stopped_alone(switch: KillSwitch, tenant: str) -> None:
    assert not killed(switch, tenant)
    assert pull(switch, human("ann", "oncall", tenant=tenant), "agent", "dev:agent-1")
    assert killed(switch, tenant)
    assert not killed(switch, tenant, acting="dev:agent-2")
    assert not killed(switch, fresh_tenant())


def test_a_stopped_connector_is_stopped_for_all_agents_of_the_tenant(switch: KillSwitch, tenant: str) -> None:
    pull(switch, human("ann", "oncall", tenant=tenant), "connector", "local")
    assert killed(switch, tenant, acting="dev:agent-2")
    assert not killed(switch, tenant, connector="kube")
    assert not killed(switch, fresh_tenant())


def test_a_stopped_tenant_is_stopped_with_everything_in_it(switch: KillSwitch, tenant: str) -> None:
    pull(switch, human("ann", "oncall", tenant=tenant), "tenant")
    assert killed(switch, tenant, acting="dev:any", connector="")
    assert not killed(switch, fresh_tenant())


def test_an_agent_whose_id_is_a_connectors_name_is_told_apart(switch: KillSwitch, tenant: str) -> None:
    pull(switch, human("ann", "oncall", tenant=tenant), "agent", "dev:local")
    assert not killed(switch, tenant, acting="dev:agent-1", connector="dev:local")


@pytest.mark.parametrize("kind", KINDS)
def test_the_switch_for_all_stops_every_tenant_and_needs_the_role_for_all(
    kind: str, tmp_path: Path, clock: SeededClock
) -> None:
    store = open_store(kind, tmp_path)
    switch = KillSwitch(store, clock, roles=["oncall"], roles_for_all=["security"])
    refused = {
        "kill.role": [human("ann", "oncall"), agent("agent-1", behalf=human("sec", "security"))],
        "tenant.not_operator": [human("eve", "security", tenant="acme")],
    }

    def nobody_else(act: Callable[[Principal], object]) -> None:
        for code, people in refused.items():
            for principal in people:
                with pytest.raises(Denied) as no:
                    act(principal)
                assert no.value.error_code == code

    nobody_else(lambda principal: pull(switch, principal, "all"))
    assert not killed(switch, "default")
    assert pull(switch, human("sec", "security"), "all")
    assert killed(switch, "default")
    assert killed(switch, "another", acting="", connector="")
    nobody_else(lambda principal: resume(switch, principal, "all"))
    assert killed(switch, "default")
    assert resume(switch, human("sec", "security"), "all")
    assert not killed(switch, "another")
    store.close()


def test_pulling_twice_changes_nothing_and_keeps_who_pulled_first(
    switch: KillSwitch, clock: SeededClock, tenant: str
) -> None:
    ann, bob = human("ann", "oncall", tenant=tenant), human("bob", "oncall", tenant=tenant)
    assert pull(switch, ann, "agent", "dev:agent-1")
    clock.advance(60)
    assert not pull(switch, bob, "agent", "dev:agent-1")
    (kill,) = asyncio.run(switch.pulled(tenant))
    assert (kill.pulled_by, kill.reason, kill.pulled_at) == (
        "dev:ann",
        "it misbehaves \x00",
        clock.now_ns() // 10**9 - 60,
    )


def test_a_resumed_agent_runs_and_can_be_stopped_again(switch: KillSwitch, tenant: str) -> None:
    ann = human("ann", "oncall", tenant=tenant)
    pull(switch, ann, "agent", "dev:agent-1")
    assert resume(switch, ann, "agent", "dev:agent-1")
    assert not killed(switch, tenant)
    assert not resume(switch, ann, "agent", "dev:agent-1")
    assert pull(switch, ann, "agent", "dev:agent-1")
    assert killed(switch, tenant)


def test_who_pulls_it_while_it_is_about_to_be_let_go_wins(switch: KillSwitch, tenant: str) -> None:
    ann, bob = human("ann", "oncall", tenant=tenant), human("bob", "security", tenant=tenant)
    pull(switch, ann, "agent", "dev:agent-1")
    mark = "resume.bob"
    assert asyncio.run(switch.resuming(bob, "agent", "dev:agent-1", mark))
    assert not pull(switch, ann, "agent", "dev:agent-1"), "it was pulled already"
    with pytest.raises(Conflict) as refused:
        asyncio.run(switch.resume(bob, "agent", "dev:agent-1", mark))
    assert refused.value.error_code == "kill.pulled_again"
    assert killed(switch, tenant)
    mark = "resume.bob"
    assert asyncio.run(switch.resuming(bob, "agent", "dev:agent-1", mark))
    assert resume(switch, ann, "agent", "dev:agent-1")
    pull(switch, ann, "agent", "dev:agent-1")
    with pytest.raises(Conflict):
        asyncio.run(switch.resume(bob, "agent", "dev:agent-1", mark))
    assert killed(switch, tenant), "also who pulled it anew after another let it go"


def test_a_pull_that_is_sent_again_while_it_stands_wins_over_a_resume_under_way(
    switch: KillSwitch, clock: SeededClock, tenant: str
) -> None:
    ann, bob = human("ann", "oncall", tenant=tenant), human("bob", "security", tenant=tenant)
    at = clock.now_ns() // 10**9
    pull(switch, ann, "agent", "dev:agent-1")
    assert asyncio.run(switch.resuming(bob, "agent", "dev:agent-1", "resume.bob"))
    assert asyncio.run(switch.since(ann, "agent", "dev:agent-1", at)) is True
    with pytest.raises(Conflict):
        asyncio.run(switch.resume(bob, "agent", "dev:agent-1", "resume.bob"))
    assert resume(switch, bob, "agent", "dev:agent-1")
    assert asyncio.run(switch.since(ann, "agent", "dev:agent-1", at)) is False
    assert not killed(switch, tenant)


def test_what_nobody_pulled_is_not_let_go(switch: KillSwitch, tenant: str) -> None:
    bob = human("bob", "security", tenant=tenant)
    assert not asyncio.run(switch.resuming(bob, "agent", "dev:agent-1", "resume.bob"))


def test_the_stopped_one_does_not_resume_itself_alone_or_behind_another(switch: KillSwitch, tenant: str) -> None:
    ann = human("ann", "oncall", tenant=tenant)
    pull(switch, ann, "agent", "dev:agent-1")
    pull(switch, ann, "agent", "dev:bob")
    for principal, target in (
        (agent("agent-1", tenant), "dev:agent-1"),
        (agent("agent-1", tenant, behalf=ann), "dev:agent-1"),
        (agent("agent-2", tenant, behalf=human("bob", tenant=tenant)), "dev:bob"),
    ):
        with pytest.raises(Denied) as refused:
            resume(switch, principal, "agent", target)
        assert refused.value.error_code == "kill.own"
    assert killed(switch, tenant)


def test_only_a_person_with_a_role_for_it_pulls(switch: KillSwitch, tenant: str) -> None:
    ann = human("ann", "oncall", tenant=tenant)
    other = agent("agent-1", tenant)
    unfit = [
        replace(other, subject=replace(other.subject, roles=frozenset({"oncall", "security"}))),
        human("bob", "auditor", tenant=tenant),
        agent("agent-1", tenant),
        agent("agent-1", tenant, behalf=ann),
    ]
    for principal in unfit:
        with pytest.raises(Denied) as refused:
            pull(switch, principal, "tenant")
        assert refused.value.error_code == "kill.role"
    assert not killed(switch, tenant)


def test_a_person_stops_only_their_own_tenant(switch: KillSwitch, tenant: str) -> None:
    stranger = human("eve", "oncall", tenant=fresh_tenant())
    pull(switch, stranger, "agent", "dev:agent-1")
    assert not killed(switch, tenant)
    pull(switch, human("ann", "oncall", tenant=tenant), "agent", "dev:agent-1")
    resume(switch, stranger, "agent", "dev:agent-1")
    assert killed(switch, tenant)


@pytest.mark.parametrize(
    ("scope", "target"), [("planet", ""), ("agent", ""), ("connector", ""), ("tenant", "x"), ("all", "x")]
)
def test_a_wrong_scope_or_target_is_named(switch: KillSwitch, tenant: str, scope: str, target: str) -> None:
    with pytest.raises(BadRequest, match=r"field `(scope|target)`"):
        pull(switch, human("ann", "oncall", "security", tenant=tenant), scope, target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pulled_switch_is_seen_by_other_replicas_at_once_and_survives_a_restart(
    kind: str, tmp_path: Path, clock: SeededClock
) -> None:
    url = fresh_url(kind, tmp_path)
    stores = [Store(url, timeouts=PATIENT) for _ in range(2)]
    stores[0].migrate()
    one, other = (KillSwitch(store, clock, roles=["oncall"]) for store in stores)
    assert not killed(other, "default")
    pull(one, human("ann", "oncall"), "agent", "dev:agent-1")
    assert killed(other, "default")
    for store in stores:
        store.close()
    again = Store(url, timeouts=PATIENT)
    again.migrate()
    assert killed(KillSwitch(again, clock, roles=["oncall"]), "default")
    again.close()


def test_an_unreadable_switch_is_not_an_open_one(clock: SeededClock) -> None:
    away = KillSwitch(Store("postgresql+psycopg://gate@127.0.0.1:1/none"), clock, roles=["oncall"])
    with pytest.raises(StoreUnavailable):
        killed(away, "default")


def test_a_switch_that_cannot_be_pulled_says_that_nothing_was_stopped(clock: SeededClock) -> None:
    away = KillSwitch(Store("postgresql+psycopg://gate@127.0.0.1:1/none"), clock, roles=["oncall"])
    with pytest.raises(StoreUnavailable) as failed:
        pull(away, human("ann", "oncall"), "agent", "dev:agent-1")
    assert failed.value.error_code == "kill.not_pulled"


def test_what_is_under_way_learns_within_a_second_that_it_is_stopped(
    switch: KillSwitch, clock: SeededClock, tenant: str
) -> None:
    watch = switch.watch(agent("agent-1", tenant), "llm", None)
    other = switch.watch(agent("agent-2", tenant), "llm", None)
    asyncio.run(watch.check())
    pull(switch, human("ann", "oncall", tenant=tenant), "agent", "dev:agent-1")
    clock.advance(POLL_SECONDS)
    with pytest.raises(Denied) as stopped:
        asyncio.run(watch.check())
    assert stopped.value.error_code == "kill.pulled"
    asyncio.run(other.check())
