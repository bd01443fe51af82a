"""The verdict on a remedy, from figures alone."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.remedies.verdict import Level, Verdict, judge

D = Decimal
VALUES = st.one_of(st.none(), st.decimals("0", "1", places=3))


def level(before: str | None, *after: str | None, **more: Any) -> Level:
    """An error share: healthy at 0.02, a move of 0.03 counts."""
    kept: dict[str, Any] = {
        "component": "checkout",
        "name": "errors",
        "better": "lower",
        "healthy": D("0.02"),
        "margin": D("0.03"),
        "dependent": False,
    }
    return Level(
        **(kept | more),
        before=None if before is None else D(before),
        after=tuple(None if value is None else D(value) for value in after),
    )


def over(*levels: Level) -> Verdict:
    return judge(levels, over=True)


def test_trouble_that_is_gone_over_the_second_half_is_improved() -> None:
    assert over(level("0.5", "0.5", "0.4", "0.01", "0")) is Verdict.IMPROVED


def test_trouble_that_is_half_gone_is_improved_and_less_is_not() -> None:
    assert over(level("0.5", "0.2", "0.2")) is Verdict.IMPROVED
    assert over(level("0.5", "0.4", "0.4")) is Verdict.UNCHANGED


def test_a_remedy_that_does_nothing_is_unchanged() -> None:
    assert over(level("0.5", "0.5", "0.49", "0.51", "0.5")) is Verdict.UNCHANGED


def test_where_nothing_was_wrong_nothing_can_have_been_mended() -> None:
    assert over(level("0.01", "0", "0", "0")) is Verdict.UNCHANGED


def test_what_got_worse_is_worse_at_once_but_not_for_one_sample() -> None:
    assert judge([level("0.2", "0.2", "0.4")], over=False) is Verdict.PENDING
    assert judge([level("0.2", "0.4", "0.4")], over=False) is Verdict.WORSE


def test_a_dependent_that_got_worse_outweighs_a_target_that_is_well() -> None:
    storefront = level("0", "0.3", "0.3", component="storefront", dependent=True)
    assert over(level("0.5", "0", "0"), storefront) is Verdict.WORSE


def test_a_dependent_that_is_still_in_trouble_does_not_undo_a_remedy() -> None:
    storefront = level("0.3", "0.3", "0.3", component="storefront", dependent=True)
    assert over(level("0.5", "0", "0"), storefront) is Verdict.IMPROVED


def test_half_a_remedy_is_none() -> None:
    running = level("0", "0", "0", name="running", better="higher", healthy=D(1), margin=D("0.5"))
    assert over(level("0.5", "0", "0"), running) is Verdict.UNCHANGED


def test_what_cannot_be_measured_any_more_is_unknown() -> None:
    assert over(level("0.5", "0", "0", None, None)) is Verdict.UNKNOWN
    assert over(level(None, "0.5", "0.5")) is Verdict.UNKNOWN
    assert over() is Verdict.UNKNOWN


def test_what_says_nothing_before_and_after_leaves_the_word_to_the_others() -> None:
    running = level("0", "1", "1", name="running", better="higher", healthy=D(1), margin=D("0.5"))
    assert over(level(None, None, None), running) is Verdict.IMPROVED
    assert over(level(None, None, None)) is Verdict.UNKNOWN


def test_what_could_not_be_measured_before_and_is_well_now_is_improved() -> None:
    assert over(level(None, "0", "0")) is Verdict.IMPROVED


def test_higher_may_be_better() -> None:
    down = level("1", "0", "0", name="running", better="higher", healthy=D(1), margin=D("0.5"))
    assert judge([down], over=False) is Verdict.WORSE


@given(st.decimals("0", "1", places=3))
def test_what_stays_as_it_was_is_never_improved_nor_worse(before: Decimal) -> None:
    same = level(str(before), str(before), str(before), str(before))
    assert over(same) is Verdict.UNCHANGED


@given(
    st.one_of(st.none(), st.decimals("0", "1", places=3)),
    st.lists(VALUES, min_size=2, max_size=8),
    st.integers(0, 7),
    st.decimals("0", "1", places=3),
)
def test_more_trouble_after_never_makes_a_verdict_better(
    before: Decimal | None, after: list[Decimal | None], place: int, more: Decimal
) -> None:
    order = [Verdict.WORSE, Verdict.UNCHANGED, Verdict.IMPROVED]
    at = place % len(after)
    was = after[at]
    if was is None:
        return
    text = None if before is None else str(before)
    first = over(level(text, *(None if one is None else str(one) for one in after)))
    raised = [*after[:at], was + more, *after[at + 1 :]]
    second = over(level(text, *(None if one is None else str(one) for one in raised)))
    if first in order and second in order:
        assert order.index(second) <= order.index(first)


@given(st.lists(st.lists(VALUES, min_size=2, max_size=4), max_size=3), st.booleans())
def test_there_is_always_a_verdict_and_before_the_end_only_worse_or_pending(
    rows: list[list[Decimal | None]], ended: bool
) -> None:
    levels = [level("0.3", *(None if one is None else str(one) for one in row)) for row in rows]
    verdict = judge(levels, over=ended)
    assert (verdict in {Verdict.WORSE, Verdict.PENDING}) or ended


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_nothing_measured_in_most_of_the_second_half_is_no_improvement(lost: int) -> None:
    half: list[str | None] = [None] * lost + ["0"] * (3 - lost)
    assert over(level("0.5", "0", "0", "0", *half)) is (Verdict.UNKNOWN if lost == 2 else Verdict.IMPROVED)
