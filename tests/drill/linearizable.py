"""Whether a history of overlapping calls could have happened one call at a time.

The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was tried
("Testing for linearizability", 2017): of all calls that nobody's return precedes, one is taken to be the next to have had its
effect, at one moment between its invocation and its return; if the model refuses it, another is tried. A set of calls that had
their effect, together with the state they led to, is tried once.

A call without a return may have had its effect at any moment after its invocation, or not at all: a client that got no
answer, or a step inside of what is tested that nobody sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One call: what was asked and answered, and when, on one scale for all calls of a history."""

    said: Result
    """What the model is told: the operation with its arguments and what came of it."""
    invoked: int
    returned: int | None = None
    """None: it may have had its effect at any later moment, or never."""


def order_of(
    calls: Sequence[Call[Result]], start: State, step: Callable[[State, Result], State | None]
) -> list[Call[Result]] | None:
    """An order in which the calls could have happened, one at a time; None where there is none.

    ``step(state, said)`` is the model: the state after it, or None where this cannot come of that in this state. States
    are hashable.
    """
    ended = [number for number, call in enumerate(calls) if call.returned is not None]
    due = sum(1 << number for number in ended)
    tried: set[tuple[int, State]] = set()
    taken: list[int] = []
    waits: list[tuple[int, State, list[int]]] = [(0, start, _next(calls, 0))]
    while waits:
        done, state, open_ = waits[-1]
        if done & due == due:
            return [calls[number] for number in taken]
        if not open_:
            waits.pop()
            if taken:
                taken.pop()
            continue
        number = open_.pop()
        after = step(state, calls[number].said)
        reached = done | 1 << number
        if after is None or (reached, after) in tried:
            continue
        tried.add((reached, after))
        taken.append(number)
        waits.append((reached, after, _next(calls, reached)))
    return None


def _next(calls: Sequence[Call[Result]], done: int) -> list[int]:
    """The calls that may be the next: invoked before any other that is still to come had returned."""
    rest = [number for number in range(len(calls)) if not done >> number & 1]
    first = min((known for number in rest if (known := calls[number].returned) is not None), default=None)
    return [number for number in rest if first is None or calls[number].invoked < first]
