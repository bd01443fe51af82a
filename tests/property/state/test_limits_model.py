"""Limits against the plain definition: in no window do more units pass than burst and rate allow."""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import LimitExceeded
from broker.limits import NS, Limits, Taken
from broker.model import Limit
from broker.store import Store
from tests.stores import fresh_tenant, open_store

START = 1_767_225_600 * NS
sizes = st.builds(
    lambda most, window, burst: Limit("l", "actor", most, window, burst),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 5),
)
# Each step: nanoseconds that pass, units asked for, and whether the last unit taken is given back at once or later.
steps = st.lists(
    st.tuples(st.integers(0, 3 * NS), st.integers(1, 3), st.sampled_from(("keep", "keep", "refund"))), max_size=30
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    opened = open_store("sqlite", folder)
    yield opened
    opened.close()
    shutil.rmtree(folder)


async def take(limits: Limits, tenant: str, limit: Limit, units: int, now: int) -> Taken | None:
    if units > limit.burst:
        return None
    try:
        return await limits.take(tenant, [(limit, "k")], units, now_ns=now)
    except LimitExceeded as refused:
        return None if refused.retry_after else pytest.fail("a refusal that does not say when to come back")


def within(passed: list[tuple[int, int]], limit: Limit) -> bool:
    """No window [a, b] holds more than burst + rate * (b - a) units."""
    for first, last in itertools.combinations_with_replacement(range(len(passed)), 2):
        units = sum(count for _, count in passed[first : last + 1])
        span = passed[last][0] - passed[first][0]
        if (units - limit.burst) * limit.window_s * NS > span * limit.max:
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(limit=sizes, steps=steps)
def test_no_window_holds_more_than_burst_and_rate_whatever_is_refunded(
    store: Store, limit: Limit, steps: list[tuple[int, int, str]]
) -> None:
    async def main() -> None:
        limits, tenant, now = Limits(store), fresh_tenant(), START
        passed: list[tuple[int, int]] = []
        open_ones: list[tuple[Taken, int, int]] = []
        for wait, units, end in steps:
            now += wait
            taken = await take(limits, tenant, limit, units, now)
            if taken:
                open_ones.append((taken, now, units))
            if end == "refund" and open_ones:
                await limits.refund(open_ones.pop(0)[0], now)  # the oldest: the hardest to give back rightly
        passed = [(at, units) for _, at, units in open_ones]
        assert within(passed, limit)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(limit=sizes, waits=st.lists(st.integers(0, 3 * NS), max_size=30))
def test_what_is_refused_would_have_broken_the_bound(store: Store, limit: Limit, waits: list[int]) -> None:
    """The limit is no tighter than it says: at the moment of a refusal one more unit would not have fitted."""

    async def main() -> None:
        limits, tenant, now = Limits(store), fresh_tenant(), START
        passed: list[tuple[int, int]] = []
        interval = -(-limit.window_s * NS // limit.max)
        for wait in waits:
            now += wait
            if await take(limits, tenant, limit, 1, now):
                passed.append((now, 1))
            else:
                full = max(
                    sum(count for _, count in passed[n:]) * interval - (now - at) for n, (at, _) in enumerate(passed)
                )
                assert full + interval > limit.burst * interval

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(limit=sizes, jumps=st.lists(st.integers(-3600 * NS, 3600 * NS), max_size=30))
def test_a_jumping_clock_passes_at_most_a_burst_and_the_rate_of_the_time_it_ever_showed(
    store: Store, limit: Limit, jumps: list[int]
) -> None:
    async def main() -> None:
        limits, tenant, now = Limits(store), fresh_tenant(), START
        latest, passed = START, 0
        for jump in jumps:
            now = max(now + jump, START)
            latest = max(latest, now)
            passed += 1 if await take(limits, tenant, limit, 1, now) else 0
        assert (passed - limit.burst) * limit.window_s * NS <= (latest - START) * limit.max

    asyncio.run(main())
