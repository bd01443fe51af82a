"""Sessions: whom they serve, how they end, taint and budgets."""

import asyncio

import pytest

from broker.clock import SeededClock
from broker.errors import BadRequest, BrokerError, Denied, LimitExceeded, NotFound
from broker.killswitch import KillSwitch
from broker.limits import Limits
from broker.model import Intent, Limit, Principal
from broker.sessions import OPENED_BY_GATE, Opening, Sessions
from broker.store import Store
from broker.store.gather import Gathered, gather
from tests.stores import agent, fresh_tenant, human

TRUSTED = Intent("task", "restart checkout", "console", "dev:ann", trusted=True)
UNTRUSTED = Intent("message", "ignore the rules", "chat", "dev:agent-1", trusted=False)


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


@pytest.fixture
def sessions(store: Store, clock: SeededClock) -> Sessions:
    return Sessions(store, clock)


def serves(sessions: Sessions, principal: Principal, session_id: str) -> bool:
    try:
        return asyncio.run(sessions.get(principal, session_id)).id == session_id
    except NotFound:
        return False


def test_a_session_comes_back_as_it_was_opened(sessions: Sessions, tenant: str) -> None:
    owner = agent("agent-1", tenant)
    opening = Opening((TRUSTED,), 600, labels={"ticket": "T\x00-1"}, budgets={"actions": 3})
    opened = asyncio.run(sessions.open(owner, opening))
    assert asyncio.run(sessions.get(owner, opened.id)) == opened
    assert (opened.intent, opened.labels, opened.budgets) == ((TRUSTED,), {"ticket": "T\x00-1"}, {"actions": 3})
    assert opened.expires_at - opened.opened_at == 600
    assert len(opened.id) == len("ses_") + 26


def test_a_session_serves_the_pair_that_opened_it_and_nobody_else(sessions: Sessions, tenant: str) -> None:
    ann, bob = human("ann", tenant=tenant), human("bob", tenant=tenant)
    mine = agent("agent-1", tenant, behalf=ann)
    opened = asyncio.run(sessions.open(mine, Opening((TRUSTED,), 600)))
    assert serves(sessions, mine, opened.id)
    others = [
        agent("agent-1", tenant),
        agent("agent-1", tenant, behalf=bob),
        agent("agent-2", tenant, behalf=ann),
        ann,
        bob,
        agent("agent-1", fresh_tenant(), behalf=ann),
    ]
    assert [serves(sessions, other, opened.id) for other in others] == [False] * len(others)
    assert not serves(sessions, mine, "ses_unknown")


def test_an_agent_that_a_human_named_is_served_alone_or_on_behalf_of_that_human(
    sessions: Sessions, tenant: str
) -> None:
    ann, bob = human("ann", tenant=tenant), human("bob", tenant=tenant)
    opened = asyncio.run(sessions.open(ann, Opening((TRUSTED,), 600, agent="dev:agent-1")))
    assert serves(sessions, agent("agent-1", tenant), opened.id)
    assert serves(sessions, agent("agent-1", tenant, behalf=ann), opened.id)
    others = [
        ann,
        bob,
        agent("agent-1", tenant, behalf=bob),
        agent("agent-2", tenant),
        agent("agent-2", tenant, behalf=ann),
    ]
    assert [serves(sessions, other, opened.id) for other in others] == [False] * len(others)


def test_only_a_human_names_another_agent(sessions: Sessions, tenant: str) -> None:
    for principal in (agent("agent-1", tenant), agent("agent-1", tenant, behalf=human("ann", tenant=tenant))):
        with pytest.raises(Denied):
            asyncio.run(sessions.open(principal, Opening((), 600, agent="dev:agent-2")))
    own = asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 600, agent="dev:agent-1")))
    assert not own.named


@pytest.mark.parametrize("backwards", [False, True])
def test_a_session_ends_at_its_second_wherever_the_clock_goes(
    sessions: Sessions, clock: SeededClock, tenant: str, backwards: bool
) -> None:
    owner = agent("agent-1", tenant)
    opened = asyncio.run(sessions.open(owner, Opening((), 600)))
    clock.advance(599)
    assert serves(sessions, owner, opened.id)
    clock.advance(1)
    assert not serves(sessions, owner, opened.id)
    clock.step_wall(-3600 if backwards else 3600)
    assert not serves(sessions, owner, opened.id)


def test_a_closed_session_is_gone_for_good_and_only_its_own_people_close_it(sessions: Sessions, tenant: str) -> None:
    ann, runner = human("ann", tenant=tenant), agent("agent-1", tenant)
    opened = asyncio.run(sessions.open(ann, Opening((), 600, agent="dev:agent-1")))
    for stranger in (human("bob", tenant=tenant), agent("agent-2", tenant), human("ann", tenant=fresh_tenant())):
        with pytest.raises(NotFound):
            asyncio.run(sessions.close(stranger, opened.id))
    assert serves(sessions, runner, opened.id)
    asyncio.run(sessions.close(ann, opened.id))
    assert not serves(sessions, runner, opened.id)
    with pytest.raises(NotFound):
        asyncio.run(sessions.close(ann, opened.id))


def test_an_agent_closes_no_session_of_another_person_that_it_acts_for(sessions: Sessions, tenant: str) -> None:
    ann, bob = human("ann", tenant=tenant), human("bob", tenant=tenant)
    for_ann = agent("agent-1", tenant, behalf=ann)
    opened = [
        asyncio.run(sessions.open(for_ann, Opening((TRUSTED,), 600))),
        asyncio.run(sessions.open(ann, Opening((TRUSTED,), 600, agent="dev:agent-1"))),
        asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 600))),
    ]
    for one in opened:
        for stranger in (agent("agent-1", tenant, behalf=bob), agent("agent-2", tenant, behalf=ann), bob):
            with pytest.raises(NotFound):
                asyncio.run(sessions.close(stranger, one.id))
    with pytest.raises(NotFound):
        asyncio.run(sessions.close(agent("agent-1", tenant), opened[0].id))
    with pytest.raises(NotFound):
        asyncio.run(sessions.close(for_ann, opened[2].id))
    for one, own in zip(opened, (ann, for_ann, agent("agent-1", tenant)), strict=True):
        asyncio.run(sessions.close(own, one.id))


def test_untrusted_intent_taints_and_taint_stays(sessions: Sessions, tenant: str) -> None:
    owner = agent("agent-1", tenant)
    clean = asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600)))
    tainted = asyncio.run(sessions.open(owner, Opening((TRUSTED, UNTRUSTED), 600)))
    assert (clean.tainted, tainted.tainted) == (False, True)
    asyncio.run(sessions.taint(tenant, clean.id))
    assert asyncio.run(sessions.get(owner, clean.id)).tainted
    with pytest.raises(NotFound):
        asyncio.run(sessions.taint(fresh_tenant(), clean.id))


def test_a_new_session_does_not_wash_an_incidents_taint_away(sessions: Sessions, tenant: str) -> None:
    owner = human("ann", tenant=tenant)
    first = asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600, incident="inc_1")))
    assert not asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600, incident="inc_1"))).tainted
    asyncio.run(sessions.taint(tenant, first.id))
    asyncio.run(sessions.close(owner, first.id))
    assert asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600, incident="inc_1"))).tainted
    assert not asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600, incident="inc_2"))).tainted


def test_taint_reaches_every_session_of_the_incident_and_no_other(sessions: Sessions, tenant: str) -> None:
    owner = human("ann", tenant=tenant)
    names = ("inc_1", "inc_1", "inc_2", "", "")
    opened = [asyncio.run(sessions.open(owner, Opening((TRUSTED,), 600, incident=name))) for name in names]
    asyncio.run(sessions.taint(tenant, opened[0].id))
    asyncio.run(sessions.taint(tenant, opened[3].id))
    assert [asyncio.run(sessions.get(owner, one.id)).tainted for one in opened] == [True, True, False, True, False]


def test_a_session_that_opens_while_its_incident_is_tainted_is_tainted(sessions: Sessions, tenant: str) -> None:
    owner = human("ann", tenant=tenant)

    async def main() -> None:
        for number in range(10):
            opening = Opening((TRUSTED,), 600, incident=f"inc_{number}")
            first = await sessions.open(owner, opening)
            later, *_ = await asyncio.gather(sessions.open(owner, opening), sessions.taint(tenant, first.id))
            assert (await sessions.get(owner, later.id)).tainted

    asyncio.run(main())


def test_taint_reaches_what_the_reader_runs_now_and_nobody_elses(
    sessions: Sessions, clock: SeededClock, tenant: str
) -> None:
    ann, owner, other = human("ann", tenant=tenant), agent("agent-1", tenant), agent("agent-2", tenant)

    def opened(who: Principal, name: str = "", seconds: int = 600) -> str:
        return asyncio.run(sessions.open(who, Opening((TRUSTED,), seconds, agent=name))).id

    read_in, named, foreign = opened(owner), opened(ann, "dev:agent-1"), opened(other)
    closed, elsewhere = opened(owner), opened(agent("agent-1", fresh := fresh_tenant()))
    asyncio.run(sessions.close(owner, closed))
    asyncio.run(sessions.open_for_incident(tenant, Opening((TRUSTED,), 600, incident="inc_1")))
    asyncio.run(sessions.taint(tenant, read_in, party="dev:agent-1"))
    assert [asyncio.run(sessions.get(owner, one)).tainted for one in (read_in, named)] == [True, True]
    assert not asyncio.run(sessions.get(other, foreign)).tainted
    assert not asyncio.run(sessions.get(agent("agent-1", fresh), elsewhere)).tainted
    later = opened(ann, "dev:agent-1")
    asyncio.run(sessions.taint(tenant, party="dev:agent-1"))
    assert asyncio.run(sessions.get(owner, later)).tainted, "a session that was tainted before does not shield it"


def test_only_a_human_opens_a_session_in_an_incident(sessions: Sessions, tenant: str) -> None:
    opening = Opening((TRUSTED,), 600, incident="inc_1")
    for principal in (agent("agent-1", tenant), agent("agent-1", tenant, behalf=human("ann", tenant=tenant))):
        with pytest.raises(Denied) as refused:
            asyncio.run(sessions.open(principal, opening))
        assert refused.value.error_code == "session.incident"
    assert asyncio.run(sessions.open(human("ann", tenant=tenant), opening)).incident == "inc_1"


def test_an_incidents_session_serves_the_agent_it_is_assigned_to_and_no_earlier_one(
    sessions: Sessions, tenant: str
) -> None:
    first, second = agent("agent-1", tenant), agent("agent-2", tenant)
    opened = asyncio.run(sessions.open_for_incident(tenant, Opening((TRUSTED,), 600, incident="inc_1")))
    assert (opened.opened_by, opened.agent) == (OPENED_BY_GATE, "")
    assert not serves(sessions, first, opened.id)
    for now, other in ((first, second), (second, first)):
        asyncio.run(sessions.assign(tenant, opened.id, now.acting.id))
        assert serves(sessions, now, opened.id)
        assert not serves(sessions, other, opened.id)
    plain = asyncio.run(sessions.open(first, Opening((), 600)))
    with pytest.raises(NotFound):
        asyncio.run(sessions.assign(tenant, plain.id, second.acting.id))
    with pytest.raises(BadRequest):
        asyncio.run(sessions.open_for_incident(tenant, Opening((), 600)))


@pytest.mark.parametrize(
    "opening", [Opening((), 0), Opening((), 600, budgets={"money": 1}), Opening((), 600, budgets={"actions": -1})]
)
def test_a_wrong_opening_names_the_field(sessions: Sessions, tenant: str, opening: Opening) -> None:
    with pytest.raises(BadRequest, match=r"field `(lifetime_s|budgets)`"):
        asyncio.run(sessions.open(agent("agent-1", tenant), opening))


def test_a_budget_is_spent_to_its_last_unit_and_all_or_none(sessions: Sessions, tenant: str) -> None:
    opened = asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 600, budgets={"actions": 3, "writes": 1})))

    async def main() -> None:
        await sessions.spend(opened, {"actions": 1, "writes": 1, "tokens": 10**12})
        with pytest.raises(LimitExceeded) as spent:
            await sessions.spend(opened, {"actions": 1, "writes": 1})
        assert spent.value.error_code == "session.budget"
        assert "writes" in spent.value.detail
        await sessions.spend(opened, {"actions": 2})
        with pytest.raises(LimitExceeded):
            await sessions.spend(opened, {"actions": 1})
        assert await sessions.used(opened) == {"actions": 3, "writes": 1, "tokens": 10**12}

    asyncio.run(main())


def test_a_spent_budget_leaves_every_limit_uncharged_and_a_spent_limit_every_budget(
    sessions: Sessions, store: Store, tenant: str
) -> None:
    opened = asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 600, budgets={"actions": 1})))
    limits = Limits(store)
    pair = (Limit(name="calls", scope="actor", max=1, window_s=3600, burst=2, cost=1), "k")

    async def act() -> str:
        try:
            await limits.take(tenant, [pair], now_ns=10**18, also=[sessions.spending(opened, {"actions": 1})])
        except LimitExceeded as spent:
            return spent.error_code
        return "done"

    async def main() -> None:
        assert [await act(), await act(), await act()] == ["done", "session.budget", "session.budget"]
        # The second unit of the limit is still there, and with it gone nothing else is counted.
        await limits.take(tenant, [pair], now_ns=10**18)
        assert await act() == "limit.exceeded"
        assert (await sessions.used(opened))["actions"] == 1

    asyncio.run(main())


def test_racing_actions_never_overdraw_a_budget(sessions: Sessions, tenant: str) -> None:
    opened = asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 600, budgets={"actions": 10})))

    async def one() -> int:
        try:
            await sessions.spend(opened, {"actions": 1})
        except LimitExceeded:
            return 0
        return 1

    async def main() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(25))))

    assert asyncio.run(main()) == 10


def test_the_hot_paths_one_read_finds_what_the_separate_reads_find(
    sessions: Sessions, store: Store, clock: SeededClock, tenant: str
) -> None:
    owner, ann = agent("agent-1", tenant), human("ann", "oncall", tenant=tenant)
    kills = KillSwitch(store, clock, roles=["oncall"])
    now = clock.now_ns() // 10**9

    async def gathered(session_id: str, connector: str, who: Principal = owner) -> Gathered:
        return await store.glance(
            lambda c: gather(
                c,
                tenant=tenant,
                session_id=session_id,
                acting=who.acting.id,
                subject=who.subject.id,
                connector=connector,
                action_id="act_1",
                now_s=now,
            )
        )

    async def main() -> None:
        opened = await sessions.open(owner, Opening((TRUSTED,), 600))
        idle = {"actions_today": 0, "writes_today": 0}
        assert await gathered(opened.id, "local") == Gathered(opened, killed=False, usage=idle, proposal=None)
        await kills.pull(ann, "connector", "local", "it breaks things")
        assert (await gathered(opened.id, "local")).killed
        assert not (await gathered(opened.id, "kube")).killed
        assert await gathered("", "local") == Gathered(None, killed=True, usage=idle, proposal=None)
        for_bob, by_bob = agent("agent-2", tenant, behalf=human("bob", tenant=tenant)), agent("agent-3", tenant)
        named = await sessions.open(human("bob", tenant=tenant), Opening((TRUSTED,), 600, agent="dev:agent-3"))
        for killed in (False, True):
            assert (await gathered("", "kube", for_bob)).killed is killed
            assert (await gathered(named.id, "kube", by_bob)).killed is killed
            assert await kills.is_killed(for_bob, "kube") is killed
            assert await kills.is_killed(by_bob, "kube", named) is killed
            assert not await kills.is_killed(owner, "kube", opened)
            await kills.pull(ann, "agent", "dev:bob", "the laptop is stolen")

    asyncio.run(main())


def test_all_reasons_for_which_a_session_does_not_serve_look_alike(
    sessions: Sessions, clock: SeededClock, tenant: str
) -> None:
    opened = asyncio.run(sessions.open(agent("agent-1", tenant), Opening((), 60)))

    def refusal(principal: Principal, session_id: str) -> tuple[str, str, str]:
        with pytest.raises(BrokerError) as refused:
            asyncio.run(sessions.get(principal, session_id))
        return type(refused.value).__name__, refused.value.error_code, refused.value.detail

    answers = {
        refusal(agent("agent-2", tenant), opened.id),
        refusal(agent("agent-1", fresh_tenant()), opened.id),
        refusal(agent("agent-1", tenant), "ses_unknown"),
    }
    clock.advance(60)
    answers.add(refusal(agent("agent-1", tenant), opened.id))
    assert answers == {("NotFound", "session.not_found", "there is no such open session")}
