"""Leases: one holder a key, fences that only grow, all or nothing, expiry at use."""

import asyncio
from itertools import pairwise

import pytest

from broker.clock import SeededClock
from broker.errors import Conflict, ObligationFailed
from broker.leases import Held, Leases
from broker.store import Store
from tests.stores import PATIENT, fresh_tenant


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


@pytest.fixture
def leases(store: Store, clock: SeededClock) -> Leases:
    return Leases(store, clock)


def acquire(leases: Leases, tenant: str, keys: list[str], holder: str, hold_s: int = 30) -> Held:
    return asyncio.run(leases.acquire(tenant, keys, holder=holder, seconds=hold_s))


def refused(leases: Leases, tenant: str, keys: list[str], holder: str) -> Conflict:
    with pytest.raises(Conflict) as refusal:
        acquire(leases, tenant, keys, holder)
    return refusal.value


def lost(leases: Leases, held: Held) -> bool:
    try:
        asyncio.run(leases.check(held))
    except Conflict as conflict:
        return conflict.error_code == "lease.lost"
    return False


def test_a_held_key_is_refused_with_the_seconds_to_wait(leases: Leases, clock: SeededClock, tenant: str) -> None:
    acquire(leases, tenant, ["checkout"], "act_1", 30)
    clock.advance(10)
    refusal = refused(leases, tenant, ["checkout"], "act_2")
    assert (refusal.error_code, refusal.retry_after) == ("lease.held", 20.0)
    clock.advance(19)
    assert refused(leases, tenant, ["checkout"], "act_2").retry_after == 1.0
    clock.advance(1)
    assert acquire(leases, tenant, ["checkout"], "act_2").fences == {"checkout": 2}


def test_of_several_keys_all_are_taken_or_none(leases: Leases, tenant: str) -> None:
    acquire(leases, tenant, ["b"], "act_1")
    refused(leases, tenant, ["a", "b", "c"], "act_2")
    assert acquire(leases, tenant, ["a", "c"], "act_3").fences == {"a": 1, "c": 1}


def test_a_holder_whose_time_ran_out_may_not_act_and_cannot_free_its_successors_key(
    leases: Leases, clock: SeededClock, tenant: str
) -> None:
    first = acquire(leases, tenant, ["k"], "act_1", 30)
    assert not lost(leases, first)
    clock.advance(30)
    assert lost(leases, first)
    second = acquire(leases, tenant, ["k"], "act_2", 30)
    asyncio.run(leases.release(tenant, holder="act_1"))
    asyncio.run(leases.release(tenant, "act_1", ["k"]))
    assert lost(leases, first)
    assert not lost(leases, second)
    with pytest.raises(Conflict):
        asyncio.run(leases.renew(first, 30))
    assert second.fences["k"] > first.fences["k"]


def test_the_same_holder_that_starts_over_gets_a_higher_fence_and_its_old_self_is_out(
    leases: Leases, tenant: str
) -> None:
    first = acquire(leases, tenant, ["k"], "act_1")
    second = acquire(leases, tenant, ["k"], "act_1")
    assert second.fences == {"k": 2}
    assert lost(leases, first)
    assert not lost(leases, second)


def test_renewing_holds_all_keys_longer_or_none(leases: Leases, clock: SeededClock, tenant: str) -> None:
    held = acquire(leases, tenant, ["a", "b"], "act_1", 30)
    clock.advance(20)
    longer = asyncio.run(leases.renew(held, 30))
    clock.advance(20)
    assert not lost(leases, longer)
    clock.advance(10)
    with pytest.raises(Conflict):
        asyncio.run(leases.renew(longer, 30))
    assert acquire(leases, tenant, ["b"], "act_2").fences == {"b": 2}


@pytest.mark.parametrize("keys", [(), ("b", "a")], ids=["whatever it has", "what it knows it has"])
def test_a_released_key_is_free_at_once_and_its_fence_goes_on(
    leases: Leases, tenant: str, keys: tuple[str, ...]
) -> None:
    held = acquire(leases, tenant, ["a", "b"], "act_1")
    asyncio.run(leases.release(tenant, "act_1", keys))
    assert lost(leases, held)
    assert acquire(leases, tenant, ["b", "a", "a"], "act_2").fences == {"a": 2, "b": 2}


def test_tenants_hold_the_same_key_independently(leases: Leases, tenant: str) -> None:
    acquire(leases, tenant, ["k"], "act_1")
    assert acquire(leases, fresh_tenant(), ["k"], "act_2").fences == {"k": 1}


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_clock_that_steps_never_gives_one_fence_to_two(
    leases: Leases, clock: SeededClock, tenant: str, step_s: int
) -> None:
    first = acquire(leases, tenant, ["k"], "act_1", 30)
    clock.step_wall(step_s)
    if step_s < 0:
        refused(leases, tenant, ["k"], "act_2")
    else:
        second = acquire(leases, tenant, ["k"], "act_2", 30)
        clock.step_wall(-step_s)
        assert lost(leases, first)
        assert second.fences["k"] > first.fences["k"]


@pytest.mark.parametrize(
    ("keys", "holder", "hold_s"), [([], "act", 1), ([""], "act", 1), (["k"], "", 1), (["k"], "act", 0)]
)
def test_a_lease_that_names_nothing_is_a_failed_obligation(
    leases: Leases, tenant: str, keys: list[str], holder: str, hold_s: int
) -> None:
    with pytest.raises(ObligationFailed):
        acquire(leases, tenant, keys, holder, hold_s)


def test_racing_holders_of_overlapping_keys_never_hold_one_key_together(
    store: Store, clock: SeededClock, tenant: str
) -> None:
    url = str(store._lanes["write"].engine.url)
    other = Leases(Store(url, timeouts=PATIENT), clock) if store.dialect == "sqlite" else None
    racers = [Leases(store, clock), other or Leases(store, clock)]
    wanted = [["a", "b"], ["b", "c"], ["c", "a"], ["a", "b", "c"]]
    holding: dict[str, str] = {}
    fences: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    async def one(number: int) -> bool:
        keys, leases, holder = wanted[number % 4], racers[number % 2], f"act_{number}"
        try:
            held = await leases.acquire(tenant, keys, holder=holder, seconds=30)
        except Conflict:
            return False
        for key, fence in held.fences.items():
            assert key not in holding
            holding[key] = holder
            fences[key].append(fence)
        await asyncio.sleep(0)
        await leases.check(held)
        for key in keys:
            del holding[key]
        await leases.release(tenant, holder=holder)
        return True

    async def main() -> list[bool]:
        return [won for _ in range(5) for won in await asyncio.gather(*(one(number) for number in range(8)))]

    won = asyncio.run(main())
    assert any(won)
    assert all(before < after for seen in fences.values() for before, after in pairwise(seen))
    if other:
        other._store.close()


def test_a_second_run_of_an_action_that_gives_up_leaves_the_first_ones_keys(leases: Leases, tenant: str) -> None:
    first = acquire(leases, tenant, ["checkout", "payments"], "act_1")
    second = acquire(leases, tenant, ["checkout", "payments"], "act_1")
    assert (first.again, second.again) == (False, True)
    asyncio.run(leases.give_back(second))
    assert refused(leases, tenant, ["checkout"], "act_2").error_code == "lease.held"
    asyncio.run(leases.release(tenant, first.holder, first.fences))
    third = acquire(leases, tenant, ["checkout", "payments"], "act_2")
    asyncio.run(leases.give_back(third))
    assert acquire(leases, tenant, ["payments"], "act_3").again is False
