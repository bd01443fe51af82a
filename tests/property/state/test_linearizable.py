"""The checker of histories: it finds an order where there is one, and none where there is none."""

import itertools
import random

import pytest

from tests.drill.linearizable import Call, order_of

Said = tuple[str, int]


def register(state: int, said: Said) -> int | None:
    """A register that holds a number: it is written, read, and changed if it is zero."""
    name, value = said
    if name == "write":
        return value
    if name == "swap":  # from zero; the answer is the value that was put there, or 0 where it was refused
        return (value if state == 0 else None) if value else (state or None)
    return state if state == value else None


def call(name: str, value: int, invoked: int, returned: int | None) -> Call[Said]:
    return Call((name, value), invoked, returned)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [call("read", 0, 1, 2)],
        [call("write", 1, 1, 4), call("read", 0, 2, 3)],
        [call("write", 1, 1, 4), call("read", 1, 2, 3)],
        # Both reads lie within the write: first the old value, then the new one.
        [call("write", 1, 1, 9), call("read", 0, 2, 3), call("read", 1, 4, 5)],
        [call("swap", 1, 1, 4), call("swap", 0, 2, 3)],
        # Nobody heard of the write, but it was done.
        [call("write", 1, 1, None), call("read", 0, 2, 3), call("read", 1, 4, 5)],
        # Nobody heard of it, and it was not.
        [call("write", 1, 1, None), call("read", 0, 2, 3)],
        [call("write", 2, 1, None), call("write", 1, 1, None), call("read", 1, 2, 3), call("read", 2, 4, 5)],
    ],
)
def test_a_history_that_could_have_happened_one_call_at_a_time_has_an_order(history: list[Call[Said]]) -> None:
    found = order_of(history, 0, register)
    assert found is not None
    state: int | None = 0
    for one in found:
        assert state is not None
        state = register(state, one.said)
    assert state is not None
    assert {one for one in history if one.returned is not None} <= set(found)
    for one, other in itertools.combinations(found, 2):
        assert other.returned is None or one.invoked < other.returned, "what returned before it was asked comes first"


@pytest.mark.parametrize(
    "history",
    [
        [call("read", 1, 1, 2)],
        # The write had returned.
        [call("write", 1, 1, 2), call("read", 0, 3, 4)],
        # A new value, and then the old one again.
        [call("write", 1, 1, 9), call("read", 1, 2, 3), call("read", 0, 4, 5)],
        # Of two that change it from zero, one is refused.
        [call("swap", 1, 1, 4), call("swap", 2, 2, 3)],
        # It was refused before anybody had begun.
        [call("swap", 0, 1, 2), call("swap", 1, 3, 4)],
        # Nobody may have done it before it was asked for.
        [call("read", 1, 1, 2), call("write", 1, 3, None)],
        [call("write", 1, 1, None), call("read", 1, 2, 3), call("read", 0, 4, 5)],
    ],
)
def test_a_history_that_could_not_has_none(history: list[Call[Said]]) -> None:
    assert order_of(history, 0, register) is None


def by_trying_all(history: list[Call[Said]]) -> bool:
    """The definition itself, over all orders of all choices of what nobody heard of."""
    heard = [one for one in history if one.returned is not None]
    silent = [one for one in history if one.returned is None]
    for count in range(len(silent) + 1):
        for chosen in itertools.combinations(silent, count):
            for order in itertools.permutations([*heard, *chosen]):
                state: int | None = 0
                for one in order:
                    state = register(state, one.said) if state is not None else None
                late = any(
                    other.returned is not None and other.returned <= one.invoked
                    for one, other in itertools.combinations(order, 2)
                )
                if state is not None and not late:
                    return True
    return False


def test_on_made_up_histories_it_says_what_the_definition_says() -> None:
    chance, verdicts = random.Random(7), set()
    for _ in range(400):
        history = []
        for _ in range(chance.randint(1, 5)):
            invoked = chance.randint(1, 12)
            returned = None if chance.random() < 0.2 else invoked + chance.randint(1, 8)
            name = chance.choice(["read", "write", "swap"])
            history.append(call(name, chance.randint(0, 2), invoked, returned))
        found = order_of(history, 0, register)
        assert (found is not None) == by_trying_all(history), history
        verdicts.add(found is not None)
    assert verdicts == {True, False}
