"""The promise about one approval, as races are judged by it: what it explains, and what it must not."""

from collections.abc import Sequence

import pytest

from tests.drill.linearizable import Call, order_of
from tests.drill.race_model import Approval, Said, is_known, step

YES = (Said("yes", who="ann"), Said("counted", who="ann"))
SECOND = (Said("yes", who="bob"), Said("counted", who="bob"))
EFFECT, STOP, LATE = Said("effect"), Said("stop"), Said("time passes")
UNSEEN = ("redeemed for nothing", "given back", "taken back")


def explained(*rounds: Sequence[Said], unseen: bool = True) -> bool:
    """Whether the model explains ``rounds``, one after the other; what is in one round overlaps."""
    calls = [
        Call(said, 10 * number, 10 * number + 9)
        for number, said_at_once in enumerate(rounds, 1)
        for said in said_at_once
    ]
    calls += [Call(Said(what), 0) for what in UNSEEN] if unseen else []
    return order_of(calls, Approval(replicas=2), step) is not None


def use(came: str, at: str = "0") -> Said:
    return Said("use", came, at=at)


@pytest.mark.parametrize(
    "rounds",
    [
        [[use("waiting")], YES, [EFFECT], [Said("effect answered")], [use("done")]],
        [[*YES, *SECOND, EFFECT, use("running"), use("used"), use("waiting")]],
        [YES, [Said("approve", "closed", "bob")]],
        # Both were stored before the first was on record.
        [[*YES, *SECOND]],
        [YES, [Said("deny", "denied", "ann")], [use("denied"), use("used")]],
        [[*YES, Said("deny", "denied", "bob"), Said("look", "denied")]],
        [[*YES, STOP, EFFECT]],
        [YES, [STOP], [use("stopped"), Said("look", "cancelled")]],
        [[LATE, *YES, use("used")]],
        [[LATE], [Said("approve", "expired", "ann"), Said("look", "expired")]],
        # Another policy at one replica: the other one may still carry it out.
        [YES, [Said("policy", at="0")], [use("changed"), EFFECT]],
    ],
)
def test_what_may_happen_is_explained(rounds: list[list[Said]]) -> None:
    assert explained(*rounds)


@pytest.mark.parametrize(
    "rounds",
    [
        [YES, [EFFECT], [EFFECT]],
        [[*YES, EFFECT, EFFECT]],
        [[EFFECT]],
        [[EFFECT], YES],
        [YES, [Said("deny", "denied", "bob")], [EFFECT]],
        [[*YES, EFFECT], [Said("deny", "denied", "bob")]],
        [YES, [STOP], [EFFECT]],
        [YES, [LATE], [EFFECT]],
        [[LATE], YES],
        [YES, [Said("policy", at="0"), Said("policy", at="1")], [EFFECT]],
        [[Said("policy", at="0")], [use("changed", at="1")]],
        [YES, [use("waiting")]],
        [YES, SECOND],
        [[use("done")]],
        [[*YES, EFFECT], [use("done")]],
        [[use("used")]],
        [[use("denied")]],
        [[Said("look", "cancelled")]],
        [YES, [Said("look", "cancelled")]],
        [[Said("deny", "denied", "bob")], [Said("look", "waiting")]],
        [YES, [Said("deny", "closed", "bob")], [EFFECT]],
    ],
)
def test_what_must_not_happen_is_not(rounds: list[list[Said]]) -> None:
    assert not explained(*rounds)


def test_a_denial_that_comes_too_late_says_that_it_was_redeemed() -> None:
    refused = [YES, [Said("deny", "closed", "bob")]]
    assert explained(*refused), "it may have been redeemed for nothing"
    assert not explained(*refused, unseen=False)


def test_an_answer_that_the_model_does_not_know_is_explained_by_nothing() -> None:
    assert not is_known(Said("use", "gate.failed"))
    assert not explained([Said("use", "gate.failed", at="0")])
