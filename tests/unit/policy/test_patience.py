"""How long OPA is waited for: not the time in which the gate itself was busy, but never without end."""

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any

from broker.policy.opa import _SLICES, HARD, _Patience

SECONDS = 0.02


class Jumping(selectors.DefaultSelector):
    """A selector that does not wait: the time it was asked to wait has gone by."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class Busy(asyncio.SelectorEventLoop):
    """A loop with a clock of its own that something else holds up: whenever a timer is set, ``held_up`` seconds have gone by."""

    def __init__(self, held_up: float) -> None:
        self.selector, self.held_up, self.timers = Jumping(), held_up, 0
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        self.selector.now += self.held_up
        return super().call_later(delay, callback, *args, context=context)


def timers(held_up: float) -> int:
    """How many slices were waited for until the patience was at its end."""
    loop = Busy(held_up)

    async def main() -> None:
        try:
            async with asyncio.timeout(None) as bound:
                patience = _Patience(bound, SECONDS)
                try:
                    await asyncio.Event().wait()
                finally:
                    patience.end()
        except TimeoutError:
            return

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return loop.timers


def test_time_in_which_the_gate_was_busy_counts_little() -> None:
    assert timers(held_up=SECONDS / 10) == _SLICES


def test_a_gate_that_is_busy_without_end_gives_up_by_the_clock() -> None:
    assert timers(held_up=HARD * SECONDS * 2) <= 2
