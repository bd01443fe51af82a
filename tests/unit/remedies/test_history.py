"""What past remedies on a target say about the next one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.remedies.history import ineffective, oscillates, target_facts
from broker.store.writes import Write

NOW = 1_767_225_600


def write(ago: int, outcome: str = "", action: str = "local.process.restart") -> Write:
    return Write("default", "prod", "checkout", f"act_{ago}", action, "inc_1", NOW - ago, outcome, {})


def test_a_target_without_a_past() -> None:
    facts = target_facts([], action="local.process.restart", dependents=("storefront",), now=NOW)
    assert facts == {
        "dependents": ["storefront"],
        "writes_hour": 0,
        "last_write_s": -1,
        "ineffective": 0,
        "oscillating": False,
    }


def test_what_did_not_happen_counts_for_nothing() -> None:
    past = [write(4000, "improved"), write(3599), write(60, "failed"), write(30, "cancelled")]
    facts = target_facts(past, action="local.process.restart", dependents=(), now=NOW)
    assert (facts["writes_hour"], facts["last_write_s"]) == (1, NOW - 3599)


@pytest.mark.parametrize(
    ("outcomes", "count"),
    [
        ([], 0),
        (["unchanged"], 1),
        (["worse", "unknown"], 2),
        (["unchanged", "improved"], 0),
        (["improved", "unchanged", "", "worse"], 2),
        ([""], 0),
    ],
)
def test_remedies_in_vain_are_counted_back_to_the_last_that_helped(outcomes: list[str], count: int) -> None:
    assert ineffective(outcomes) == count


def test_every_eleven_minutes_is_a_beat_and_now_and_then_is_none() -> None:
    assert oscillates([NOW - 1980, NOW - 1320, NOW - 660], NOW)
    assert oscillates([NOW - 9000, NOW - 2000, NOW - 1350, NOW - 600], NOW), "what is older does not hide it"
    assert not oscillates([NOW - 1320, NOW - 660], NOW)
    assert not oscillates([NOW - 12000, NOW - 8000, NOW - 60], NOW)
    assert not oscillates([NOW - 30000, NOW - 20000, NOW - 10000], NOW), "slower than an hour is no loop"


def test_only_the_same_action_makes_a_beat() -> None:
    past = [write(1980), write(1320), write(660, action="local.cache.clear")]
    assert not target_facts(past, action="local.process.restart", dependents=(), now=NOW)["oscillating"]
    past[2] = write(660)
    assert target_facts(past, action="local.process.restart", dependents=(), now=NOW)["oscillating"]


@given(st.lists(st.integers(0, 10**6), max_size=12), st.integers(1, 3600))
def test_any_regular_beat_of_at_most_an_hour_is_seen_whatever_was_before(older: list[int], beat: int) -> None:
    first = 10**7
    times = [*older, first, first + beat, first + 2 * beat]
    assert oscillates(times, first + 3 * beat)
