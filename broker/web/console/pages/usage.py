"""Usage: tokens, money and actions over time and by agent and model, and what is left of limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.chart import Bars, bars
from broker.web.console.render import clock_text, duration, grouped

PAGE = "/console/usage"
WINDOWS = ("hour", "day", "week")
USUAL = "day"
_LITTLE = Decimal(20) / 100
"""Less than this share of a limit left is called little."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of the window."""

    at: int
    tokens_in: int
    tokens_out: int
    calls: int
    money: str
    actions: int
    writes: int
    refusals: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """What one agent used of one model."""

    who: str
    name: str
    model: str
    calls: int
    uncounted: int
    tokens_in: int
    tokens_out: int
    money: str


@dataclass(frozen=True, slots=True)
class RoomView:
    """What is left of one limit. ``state`` and ``look`` say it in a word."""

    limit: str
    name: str
    who: str
    left: int
    burst: int
    unit: str
    rate: str
    full: str
    state: str
    look: str


@dataclass(frozen=True, slots=True)
class UsageView:
    """What the page shows."""

    window: str
    windows: tuple[str, ...]
    since: int
    until: int
    steps: list[StepView]
    tokens: Bars | None
    money: Bars | None
    acted: Bars | None
    models: list[ModelView]
    left_out: int
    agents: list[Mapping[str, Any]]
    total: str
    unpriced: list[str]
    prices: list[Mapping[str, Any]]
    rooms: list[RoomView]
    behind: int
    receipt: Mapping[str, Any]


class UsagePage:
    """``/console/usage``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_usage(self, request: Request) -> Response:
        """GET /console/usage."""
        window = request.query_params.get("window", USUAL)
        told = await self._desk.ask(request, "gate.usage.read", {"window": window})
        return await self._desk.render(request, "usage.html", _view(told.value, told.receipt), title=words.usage.title)


def _view(value: Mapping[str, Any], receipt: Mapping[str, Any]) -> UsageView:
    steps = [
        StepView(money=money(one["money"], unpriced=_unpriced(one, value)), **{name: one[name] for name in _PLAIN})
        for one in value["steps"]
    ]
    return UsageView(
        window=value["window"],
        windows=WINDOWS,
        since=value["since"],
        until=value["until"],
        steps=steps,
        tokens=_bars(steps, [one.tokens_in + one.tokens_out for one in steps]),
        money=_money_bars(value["steps"]),
        acted=_bars(steps, [one.actions for one in steps]),
        models=[
            ModelView(
                money=_money_of(one),
                **{name: one[name] for name in _MODEL},
            )
            for one in value["models"]
        ],
        left_out=value["left_out"],
        agents=value["agents"],
        total=money(value["money"], unpriced=bool(value["unpriced"])),
        unpriced=value["unpriced"],
        prices=value["prices"],
        rooms=[room_of(one) for one in value["limits"]],
        behind=value["records"] - value["indexed"],
        receipt=receipt,
    )


_PLAIN = ("at", "tokens_in", "tokens_out", "calls", "actions", "writes", "refusals")
_MODEL = ("who", "name", "model", "calls", "uncounted", "tokens_in", "tokens_out")


def money(totals: Mapping[str, str], *, unpriced: bool) -> str:
    """Amounts by currency; unknown where nothing has a price, and named incomplete where something has none."""
    known = ", ".join(f"{amount_text(amount)} {currency}" for currency, amount in totals.items())
    if not unpriced:
        return known or words.usage.nothing_spent
    return words.usage.and_unknown.format(known=known) if known and _any(totals) else words.usage.unknown


def _money_of(row: Mapping[str, Any]) -> str:
    """What one agent's calls of one model cost."""
    return words.usage.unknown if row["money"] is None else f"{amount_text(row['money'])} {row['currency']}"


def amount_text(amount: str) -> str:
    """A decimal with at least two and at most six places, rounded up: what was spent is never told as less."""
    exact = Decimal(amount)
    shown = exact.quantize(Decimal("0.000001"), rounding="ROUND_UP")
    text = f"{shown:f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"{whole}.{places.ljust(2, '0')}"


def _any(totals: Mapping[str, str]) -> bool:
    return any(Decimal(amount) for amount in totals.values())


def _unpriced(step: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether a step may hold what has no price."""
    return bool(value["unpriced"]) and bool(step["calls"])


def _bars(steps: list[StepView], figures: list[int]) -> Bars | None:
    texts = [f"{clock_text(one.at)}: {grouped(figure)}" for one, figure in zip(steps, figures, strict=True)]
    return bars(figures, texts, grouped(max(figures, default=0)))


def _money_bars(steps: list[Mapping[str, Any]]) -> Bars | None:
    """A chart of money where there is one currency."""
    currencies = {currency for one in steps for currency in one["money"]}
    if len(currencies) != 1:
        return None
    (currency,) = currencies
    figures = [Decimal(one["money"].get(currency, "0")) for one in steps]
    texts = [
        f"{clock_text(one['at'])}: {amount_text(str(figure))} {currency}"
        for one, figure in zip(steps, figures, strict=True)
    ]
    return bars(figures, texts, f"{amount_text(str(max(figures)))} {currency}")


def room_of(one: Mapping[str, Any]) -> RoomView:
    """What is left of one limit, in words."""
    say = words.usage
    share = Decimal(one["left"]) / one["burst"]
    state, look = (
        (say.spent, "bad") if not one["left"] else (say.little, "warn") if share < _LITTLE else (say.enough, "good")
    )
    return RoomView(
        limit=one["limit"],
        name=one["name"] or say.everybody[one["scope"]],
        who=one["who"],
        left=one["left"],
        burst=one["burst"],
        unit=say.units[one["unit"]],
        rate=say.rate.format(most=grouped(one["max"]), window=duration(one["window_s"])),
        full=duration(one["full_in_s"]) if one["full_in_s"] else say.now_full,
        state=state,
        look=look,
    )
