"""The bucket of attempts: what one party may ask, and which refusals are for the record."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.attempts import Attempts
from broker.clock import SeededClock
from broker.config import WebSettings
from broker.telemetry import Telemetry


def bucket(clock: SeededClock, per_minute: int = 60, burst: int = 5, parties_max: int = 100) -> Attempts:
    web = WebSettings(attempts_per_minute_max=per_minute, attempts_burst_max=burst)
    return Attempts(clock, Telemetry(clock.monotonic), web, parties_max)


def passed(attempts: Attempts, times: int, party: str = "dev:a", tenant: str = "t") -> int:
    return sum(attempts.take(tenant, party) is None for _ in range(times))


def test_a_burst_passes_and_then_the_rate(clock: SeededClock) -> None:
    attempts = bucket(clock)
    assert passed(attempts, 50) == 5
    for _ in range(20):
        clock.advance(1)
        assert passed(attempts, 3) == 1
    clock.advance(3600)
    assert passed(attempts, 50) == 5


def test_each_party_of_each_tenant_has_its_own(clock: SeededClock) -> None:
    attempts = bucket(clock)
    assert [passed(attempts, 9, party, tenant) for party in ("dev:a", "dev:b") for tenant in ("t", "u")] == [5] * 4


def test_waiting_as_long_as_told_is_enough_and_less_is_not(clock: SeededClock) -> None:
    attempts = bucket(clock)
    passed(attempts, 5)
    over = attempts.take("t", "dev:a")
    assert over is not None
    assert over.retry_after == pytest.approx(1.0)
    clock.advance(over.retry_after * 0.4)
    assert attempts.take("t", "dev:a") is not None
    clock.advance(over.retry_after * 0.6)
    assert attempts.take("t", "dev:a") is None


def test_one_refusal_a_minute_is_for_the_record_and_counts_the_others(clock: SeededClock) -> None:
    attempts = bucket(clock)
    passed(attempts, 5)
    flood = [attempts.take("t", "dev:a") for _ in range(30)]
    assert [over.for_record for over in flood if over] == [True] + [False] * 29
    clock.advance(59)
    passed(attempts, 100)
    clock.advance(1)
    passed(attempts, 1)
    again = attempts.take("t", "dev:a")
    assert again is not None
    assert (again.for_record, again.unrecorded) == (True, 29 + 95)


def test_the_longest_silent_party_makes_room(clock: SeededClock) -> None:
    attempts = bucket(clock, parties_max=2)
    for party in ("dev:a", "dev:b", "dev:a", "dev:c"):
        passed(attempts, 5, party)
    assert len(attempts._buckets) == 2
    assert passed(attempts, 5, "dev:a") == 0
    assert passed(attempts, 5, "dev:b") == 5


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.integers(1, 600), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_no_window_lets_more_than_burst_and_rate_through(waits: list[float], per_minute: int, burst: int) -> None:
    clock = SeededClock()
    attempts = bucket(clock, per_minute, burst)
    times = []
    for wait in waits:
        clock.advance(wait)
        times += [clock.monotonic()] * passed(attempts, 5)
    for start, begun in enumerate(times):
        for end in range(start, len(times)):
            assert end - start + 1 <= burst + 1 + (times[end] - begun) * per_minute / 60
