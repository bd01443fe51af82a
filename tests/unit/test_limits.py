"""Limits: sizes, keys, all or nothing, clocks that step, replicas that race."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import LimitExceeded, ObligationFailed, StoreUnavailable
from broker.limits import NS, Limits, Taken, key_of
from broker.model import Limit, Principal, Resource
from broker.store import Store, Timeouts, counters
from broker.store.gather import gather
from tests.stores import KINDS, PATIENT, agent, fresh_tenant, fresh_url, human, open_store, request_of

T0 = 1_767_225_600 * NS
SCOPES = ("actor", "subject", "session", "tenant", "action", "resource", "global")


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


@pytest.fixture
def limits(store: Store) -> Limits:
    return Limits(store)


def limit(**changes: object) -> Limit:
    values: dict[str, object] = {"name": "restarts", "scope": "actor", "max": 60, "window_s": 60, "burst": 2, "cost": 1}
    return Limit(**{**values, **changes})  # type: ignore[arg-type]


def take(limits: Limits, tenant: str, *pairs: tuple[Limit, str], at: int = T0, cost: int = 1) -> Taken | None:
    """What was taken, or None where the limit is spent."""
    try:
        return asyncio.run(limits.take(tenant, pairs, cost, now_ns=at))
    except LimitExceeded:
        return None


def test_a_burst_passes_at_once_then_one_an_interval(limits: Limits, tenant: str) -> None:
    pair = (limit(max=60, window_s=60, burst=3), "k")
    assert [bool(take(limits, tenant, pair)) for _ in range(4)] == [True, True, True, False]
    assert not take(limits, tenant, pair, at=T0 + NS - 1)
    assert take(limits, tenant, pair, at=T0 + NS)
    assert not take(limits, tenant, pair, at=T0 + NS)


def test_a_refusal_says_which_limit_and_when_to_come_back_and_that_is_true(limits: Limits, tenant: str) -> None:
    pair = (limit(max=4, window_s=60, burst=1), "k")
    assert take(limits, tenant, pair)
    with pytest.raises(LimitExceeded) as refused:
        asyncio.run(limits.take(tenant, [pair], now_ns=T0 + NS))
    assert refused.value.retry_after == 14.0
    assert refused.value.reasons[0].params == {"limit": "restarts"}
    assert not take(limits, tenant, pair, at=T0 + 15 * NS - 1)
    assert take(limits, tenant, pair, at=T0 + 15 * NS)


def test_all_limits_pass_together_or_none_is_charged(limits: Limits, tenant: str) -> None:
    wide, tight = (limit(name="wide", burst=5), "wide"), (limit(name="tight", burst=1), "tight")
    assert take(limits, tenant, wide, tight)
    assert not take(limits, tenant, wide, tight)
    assert [bool(take(limits, tenant, wide)) for _ in range(5)] == [True] * 4 + [False]


def test_one_bucket_named_twice_is_charged_twice(limits: Limits, tenant: str) -> None:
    pair = (limit(burst=3), "k")
    assert take(limits, tenant, pair, pair)
    assert not take(limits, tenant, pair, pair)
    assert take(limits, tenant, pair)


def test_cost_multiplies(limits: Limits, tenant: str) -> None:
    pair = (limit(burst=6, cost=2), "k")
    assert take(limits, tenant, pair, cost=2)
    assert not take(limits, tenant, pair, cost=2)
    assert take(limits, tenant, pair)


def test_tenants_have_buckets_of_their_own_and_share_the_global_one(limits: Limits, tenant: str) -> None:
    own, shared = (limit(burst=1), "k"), (limit(scope="global", burst=1), f"global-{tenant}")
    other = fresh_tenant()
    assert take(limits, tenant, own)
    assert take(limits, other, own)
    assert take(limits, tenant, shared)
    assert not take(limits, other, shared)


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"max": 0}, 1),
        ({"window_s": 0}, 1),
        ({"burst": 0}, 1),
        ({"max": -1}, 1),
        ({"cost": -1}, 1),
        ({}, -1),
        ({"burst": 2, "cost": 3}, 1),
        ({}, 3),
        ({"window_s": 400 * 86_400, "max": 1, "burst": 10}, 1),
    ],
)
def test_a_limit_that_can_never_pass_is_a_failed_obligation_and_charges_nothing(
    limits: Limits, tenant: str, changes: dict[str, int], cost: int
) -> None:
    with pytest.raises(ObligationFailed):
        asyncio.run(limits.take(tenant, [(limit(), "k"), (limit(**changes), "other")], cost, now_ns=T0))
    assert take(limits, tenant, (limit(burst=1), "k"))


def test_no_limits_take_nothing(limits: Limits, tenant: str) -> None:
    assert take(limits, tenant) == Taken((), T0)


@pytest.mark.parametrize("step_s", [-3600, -1, 3600])
def test_a_clock_that_steps_never_opens_the_gate(limits: Limits, tenant: str, step_s: int) -> None:
    pair = (limit(max=60, window_s=60, burst=2), "k")
    assert [bool(take(limits, tenant, pair)) for _ in range(3)] == [True, True, False]
    stepped = T0 + step_s * NS
    forward = step_s > 0
    assert [bool(take(limits, tenant, pair, at=stepped)) for _ in range(3)] == [forward, forward, False]
    assert not take(limits, tenant, pair, at=T0)


def test_a_refund_gives_back_what_has_not_flowed_out_once(limits: Limits, tenant: str) -> None:
    pair = (limit(max=60, window_s=60, burst=4, cost=2), "k")
    first = take(limits, tenant, pair)
    assert first
    assert take(limits, tenant, pair)
    asyncio.run(limits.refund(first, T0))
    asyncio.run(limits.refund(first, T0))
    assert [bool(take(limits, tenant, pair)) for _ in range(2)] == [True, False]


def test_a_refund_gives_back_no_more_than_the_bucket_would_hold_without_what_was_taken(
    limits: Limits, tenant: str
) -> None:
    pair = (limit(max=60, window_s=60, burst=2), "k")
    first = take(limits, tenant, pair)
    assert first
    at = T0 + 9 * NS // 10
    assert take(limits, tenant, pair, at=at)
    asyncio.run(limits.refund(first, at))
    assert [bool(take(limits, tenant, pair, at=when)) for when in (at, at, T0 + NS)] == [True, False, False]


def test_an_interval_that_does_not_divide_is_rounded_up(limits: Limits, tenant: str) -> None:
    pair = (limit(max=3, window_s=1, burst=1), "k")
    assert take(limits, tenant, pair)
    assert not take(limits, tenant, pair, at=T0 + 333_333_333)
    assert take(limits, tenant, pair, at=T0 + 333_333_334)


@pytest.mark.parametrize("later_ns", [2 * NS, 3600 * NS, -NS])
def test_a_refund_that_comes_when_all_has_flowed_out_or_the_clock_went_back_gives_nothing(
    limits: Limits, tenant: str, later_ns: int
) -> None:
    pair = (limit(max=60, window_s=60, burst=2), "k")
    first = take(limits, tenant, pair)
    assert first
    full = T0 + max(later_ns, 0)
    while take(limits, tenant, pair, at=full):
        pass
    asyncio.run(limits.refund(first, T0 + later_ns))
    assert not take(limits, tenant, pair, at=full)


def test_an_empty_bucket_can_be_forgotten_without_opening_the_gate(limits: Limits, store: Store, tenant: str) -> None:
    pair = (limit(burst=1), "k")
    assert take(limits, tenant, pair)
    asyncio.run(store.count(lambda c: counters.sweep(c, T0)))
    assert not take(limits, tenant, pair)
    asyncio.run(store.count(lambda c: counters.sweep(c, T0 + 2 * NS)))
    assert take(limits, tenant, pair, at=T0 + 2 * NS)


def test_usage_counts_by_party_and_day(limits: Limits, store: Store, tenant: str) -> None:
    day = 86_400

    def usage(party: str, now_s: int) -> dict[str, int]:
        found = asyncio.run(
            store.read(
                lambda c: gather(
                    c,
                    tenant=tenant,
                    session_id="",
                    acting=party,
                    subject=party,
                    connector="",
                    action_id="",
                    now_s=now_s,
                )
            )
        )
        return dict(found.usage)

    for at, write in ((day - 1, True), (day, False), (day + 5, True)):
        asyncio.run(limits.record_use(tenant, "dev:agent-1", at, write=write))
    assert usage("dev:agent-1", day - 1) == {"actions_today": 1, "writes_today": 1}
    assert usage("dev:agent-1", day + 9) == {"actions_today": 2, "writes_today": 1}
    assert usage("dev:agent-2", day) == {"actions_today": 0, "writes_today": 0}


# -- keys ---------------------------------------------------------------------------------------------------------------


def keys(principal: Principal, **changes: str) -> dict[str, str]:
    request = request_of(principal.tenant, action_id="act_1", session=changes.pop("session", "ses_1"))
    request = replace(request, action=changes.pop("action", request.action))
    request = replace(request, resource=replace(request.resource, **changes))
    return {scope: key_of(limit(scope=scope), principal, request) for scope in SCOPES}


def test_each_scope_follows_exactly_its_own_fields() -> None:
    base = keys(agent("agent-1", behalf=human("ann")))
    changed = {
        "actor": keys(agent("agent-2", behalf=human("ann"))),
        "subject": keys(agent("agent-1", behalf=human("bob"))),
        "session": keys(agent("agent-1", behalf=human("ann")), session="ses_2"),
        "action": keys(agent("agent-1", behalf=human("ann")), action="local.logs.search"),
        "resource": keys(agent("agent-1", behalf=human("ann")), id="payments"),
    }
    for scope, other in changed.items():
        assert {name for name in SCOPES if other[name] != base[name]} == {scope}
    assert len(set(base.values())) == len(SCOPES)
    for field in ("type", "env"):
        assert keys(agent("agent-1", behalf=human("ann")), **{field: "x"})["resource"] != base["resource"]


def test_an_agent_alone_is_its_own_subject() -> None:
    alone = keys(agent("agent-1"))
    assert json.loads(alone["actor"])[2:] == json.loads(alone["subject"])[2:] == ["dev:agent-1"]


@pytest.mark.parametrize(
    "spelling", ["Checkout", "CHECKOUT", "\uff43\uff48\uff45\uff43\uff4b\uff4f\uff55\uff54", "checKout"]
)
def test_another_spelling_of_a_resource_is_the_same_bucket(spelling: str) -> None:
    assert keys(agent("a"), id=spelling)["resource"] == keys(agent("a"), id="checkout")["resource"]


@pytest.mark.parametrize(
    ("one", "other"), [("café", "cafe\u0301"), ("straße", "STRASSE"), ("ﬁle", "file"), ("Ὰͅ", "ὰι")]
)
def test_unicode_forms_of_a_resource_are_the_same_bucket(one: str, other: str) -> None:
    assert keys(agent("a"), id=one)["resource"] == keys(agent("a"), id=other)["resource"]


def test_fields_cannot_be_shifted_into_each_other() -> None:
    one = replace(request_of("t"), resource=Resource("a", "b|c", "d"))
    other = replace(request_of("t"), resource=Resource("a|b", "c", "d"))
    third = replace(request_of("t"), resource=Resource('a","b', "c", "d"))
    made = {key_of(limit(scope="resource"), agent("a"), request) for request in (one, other, third)}
    assert len(made) == 3


@pytest.mark.parametrize("scope", ["", "Actor", "ip", "tenant "])
def test_an_unknown_scope_refuses(scope: str) -> None:
    with pytest.raises(ObligationFailed) as refused:
        key_of(limit(scope=scope), agent("a"), request_of("t"))
    assert refused.value.error_code == "limit.scope"


# -- failures and races ---------------------------------------------------------------------------------------------------


def test_nothing_passes_uncounted_while_the_counters_are_locked(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path, timeouts=Timeouts(lock_ms=20))
    counter_file = next(tmp_path.glob("*-counters.db"))
    with sqlite3.connect(counter_file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable):
            asyncio.run(Limits(store).take("t", [(limit(), "k")], now_ns=T0))
        other.execute("ROLLBACK")
    other.close()
    assert take(Limits(store), "t", (limit(), "k"))
    store.close()


RACER = """
import asyncio, sys
from broker.errors import LimitExceeded
from broker.limits import NS, Limits
from broker.model import Limit
from broker.store import Store, Timeouts

async def main():
    store = Store(sys.argv[1], timeouts=Timeouts(lock_ms=60_000, statement_ms=60_000, connect_s=60))
    limits, passed = Limits(store), 0
    pairs = [(Limit("a", "actor", 5, 1, 20), "k1"), (Limit("b", "tenant", 5, 1, 20), "k2")]
    for n in range(150):
        at = int(sys.argv[2]) + n * NS // 50  # three seconds of the same schedule in every process
        try:
            await limits.take("t", pairs if n % 2 else pairs[::-1], now_ns=at)
            passed += 1
        except LimitExceeded:
            pass
    store.close()
    print(passed)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_four_processes_together_never_pass_more_than_burst_and_rate(kind: str, tmp_path: Path) -> None:
    url = fresh_url(kind, tmp_path)
    opened = Store(url, timeouts=PATIENT)
    opened.migrate()
    opened.close()
    command = [sys.executable, "-c", RACER, url, str(T0)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    passed = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(passed) <= 20 + 5 * 3
    assert sum(passed) >= 20
