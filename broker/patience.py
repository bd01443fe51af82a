"""How long whoever asked still waits, and the place that their request holds among those under way.

Bound once at the gate's edge, read where something would begin: what nobody waits for any more is not begun, and what was
begun is finished and recorded. While a request waits for somebody else (an upstream, a person) it steps out of its lane,
so that slow systems do not keep others from being served. Work of the gate's own has no patience bound and always goes on.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from broker.errors import Unavailable

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """Of one request. ``expires`` is a moment of ``monotonic``; ``gone`` says whether its connection has ended."""

    expires: float
    monotonic: Callable[[], float]
    gone: Callable[[], bool]
    leave: Callable[[], None] = lambda: None
    """Gives the place back."""
    take: Callable[[], None] = lambda: None
    """Takes one again, if need be over the bound."""
    outside: int = 0

    def step_out(self) -> None:
        """Hold no place until ``step_in``, which goes with it."""
        self.outside += 1
        if self.outside == 1:
            self.leave()

    def step_in(self) -> None:
        """What was waited for is there."""
        self.outside -= 1
        if self.outside == 0:
            self.take()

    def check(self) -> None:
        """Raise ``Unavailable`` (``request.abandoned``) where nobody waits for the answer any more."""
        if self.gone() or self.monotonic() >= self.expires:
            raise Unavailable(
                "nobody waited for this any more when it was its turn; it was not begun",
                code="request.abandoned",
                remedy="send it again, with the same Idempotency-Key and more patience",
                retry_after=1,
            )


_PATIENCE: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def bound(patience: Patience) -> Iterator[None]:
    """Inside, in this task, and in those that it starts, for as long as they go on."""
    token = _PATIENCE.set(patience)
    try:
        yield
    finally:
        _PATIENCE.reset(token)


def check() -> None:
    """Raise as ``Patience.check``, where somebody asked for what is under way."""
    patience = _PATIENCE.get()
    if patience is not None:
        patience.check()


async def aside(work: Awaitable[T]) -> T:
    """``work``, which waits for somebody else, without a place."""
    patience = _PATIENCE.get()
    if patience is None:
        return await work
    patience.step_out()
    try:
        return await work
    finally:
        patience.step_in()
