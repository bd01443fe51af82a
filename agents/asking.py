"""One answer of a model, bought once and within the step's budget.

Each request goes out under a key made of its content. Where the gate still works on it, or was not reached, the same key is
asked again; where the provider was overloaded or broke off, a fresh key is, a bounded number of times: what was answered is
kept, also a refusal. So a step that runs again from its start pays for nothing twice and takes the same way.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wicketgate import GateError, LimitExceeded, NotAuthenticated, Unavailable

from agents.case import OVER, StepOver
from agents.model import Model, Reply

Json = Any
Pause = Callable[[float], Awaitable[None]]

TURNS = 24
TOKENS = 400_000
ATTEMPTS = 4
"""Fresh keys for one request."""
POLLS = 40
"""Times that one key is asked for while it has no end."""
POLL_SECONDS = 3.0
PAUSES = (2.0, 8.0, 30.0)
PAUSE_MAX = 60.0
RUNNING = frozenset({"action.running", "action.begun"})
ANEW = frozenset({
    "model.overloaded_error", "model.rate_limit_error", "model.api_error", "model.timeout_error", "model.answer_gone",
    "model.garbage", "upstream.cut", "upstream.failed", "upstream.timeout", "upstream.unreachable", "action.unknown",
})  # fmt: skip


class ModelFailed(Exception):
    """The model tier has no result: ``code`` says why, in one word for programs."""

    def __init__(self, code: str) -> None:
        """``model.<why>`` or a code of the gate's."""
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    tokens_in: Decimal
    tokens_out: Decimal

    def of(self, reply: Reply) -> Decimal:
        """What a reply cost."""
        return (self.tokens_in * reply.tokens_in + self.tokens_out * reply.tokens_out) / 1_000_000


@dataclass(slots=True)
class Budget:
    """What one step may spend on models. Without a price nothing is said of money."""

    turns: int = TURNS
    tokens: int = TOKENS
    dollars: Decimal | None = None
    price: Price | None = None
    spent_turns: int = 0
    spent_tokens: int = 0
    spent_dollars: Decimal = field(default_factory=Decimal)

    def check(self) -> None:
        """Raise ``ModelFailed`` where nothing is left."""
        if self.spent_turns >= self.turns:
            raise ModelFailed("model.budget_turns")
        if self.spent_tokens >= self.tokens:
            raise ModelFailed("model.budget_tokens")
        if self.dollars is not None and self.spent_dollars >= self.dollars:
            raise ModelFailed("model.budget_money")

    def take(self, reply: Reply) -> None:
        """Count a reply."""
        self.spent_turns += 1
        self.spent_tokens += reply.tokens_in + reply.tokens_out
        if self.price is not None:
            self.spent_dollars += self.price.of(reply)


@dataclass(frozen=True, slots=True)
class Asking:
    """A model as one step may ask it. ``key`` makes the idempotency key of a request."""

    model: Model
    key: Callable[[Mapping[str, Json]], str]
    budget: Budget
    pause: Pause

    async def answer(self, request: Mapping[str, Json]) -> Reply:
        """One turn. Raises ``ModelFailed``, ``StepOver``, or what ends this run of the step (``GateError``)."""
        self.budget.check()
        for attempt in range(ATTEMPTS):
            key = self.key({"model": self.model.name, "attempt": attempt, **request})
            try:
                reply = await self._settled(request, key)
            except GateError as error:
                if error.code not in ANEW:
                    raise _failed(error) from error
                if attempt + 1 == ATTEMPTS:
                    raise ModelFailed(error.code) from error
                await self.pause(min(error.retry_after or PAUSES[attempt], PAUSE_MAX))
            else:
                self.budget.take(reply)
                return reply
        raise AssertionError("unreachable")

    async def _settled(self, request: Mapping[str, Json], key: str) -> Reply:
        """The end of the call under ``key``; raises ``GateError``."""
        for poll in range(POLLS):
            try:
                return await self.model.turn(request, key)
            except GateError as error:
                if not _comes_again(error) or poll + 1 == POLLS:
                    raise
                await self.pause(min(error.retry_after or POLL_SECONDS, PAUSE_MAX))
        raise AssertionError("unreachable")


def _comes_again(error: GateError) -> bool:
    """Whether the same request under the same key may still be answered."""
    if error.code in RUNNING:
        return True
    return isinstance(error, Unavailable | LimitExceeded) and not error.code.startswith("model.")


def _failed(error: GateError) -> Exception:
    """What to raise for a refusal that no repetition mends: the step's end, a wait outside, or the model tier's failure."""
    if error.code in OVER:
        return StepOver(error.code)
    if isinstance(error, NotAuthenticated | Unavailable | LimitExceeded) or error.code in RUNNING:
        return error
    return ModelFailed(error.code)
