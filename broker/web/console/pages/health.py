"""Health and settings: is everything there that a decision needs, what waits, and how the gate is configured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console import words
from broker.web.console.desk import Desk, Told
from broker.web.console.render import duration


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the gate. ``since`` is seconds since the epoch, or 0."""

    name: str
    well: bool
    detail: str
    since: int = 0


@dataclass(frozen=True, slots=True)
class Queue:
    """How much waits, and since when (0: nothing does)."""

    name: str
    length: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting by its path in the file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class HealthView:
    """What the page shows."""

    missing: list[tuple[str, str]]
    parts: list[Part]
    queues: list[Queue]
    settings: list[tuple[str, list[Setting]]]
    """By section."""
    receipt: Mapping[str, Any]

    @classmethod
    def of(cls, told: Told) -> "HealthView":
        """From the answer of ``gate.health.read``."""
        value = told.value
        return cls(
            missing=sorted(value["missing"].items()),
            parts=_parts(value),
            queues=[
                Queue(words.health.queue_names.get(one["name"], one["name"]), one["length"], one["oldest"])
                for one in value["queues"]
            ],
            settings=[
                (section, [Setting(name, shown) for name, shown in _flat("", table)])
                for section, table in value["settings"].items()
            ],
            receipt=told.receipt,
        )


class HealthPage:
    """``/console/health``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_health(self, request: Request) -> Response:
        """GET /console/health."""
        told = await self._desk.ask(request, "gate.health.read")
        return await self._desk.render(request, "health.html", HealthView.of(told), title=words.health.title)


def _parts(value: Mapping[str, Any]) -> list[Part]:
    """Policy, engine, key sets, log, database, connectors."""
    say = words.health
    policy, log, store = value["policy"], value["log"], value["store"]
    in_force = bool(policy["revision"])
    return [
        Part(
            say.policy,
            in_force,
            say.policy_detail.format(revision=policy["revision"]) if in_force else say.no_policy,
            policy["since"],
        ),
        Part(say.engine, in_force, policy["engine"]),
        *(
            Part(say.keys.format(name=one["name"]), one["ready"], _keys(one["age_s"], one["limit_s"]))
            for one in value["keys"]
        ),
        Part(say.log, "log" not in value["missing"], say.log_detail.format(size=log["size"], head=log["head"])),
        Part(say.store, "store" not in value["missing"], say.store_detail.format(**store)),
        _connectors(value),
    ]


def _connectors(value: Mapping[str, Any]) -> Part:
    """All by name; first what is wrong with them."""
    say = words.health
    told = [say.quarantined.format(action=one["action"], code=one["code"]) for one in value["quarantine"]]
    told += [say.unreachable.format(name=name, code=code) for name, code in value["unreachable"].items()]
    return Part(say.connectors, well=not told, detail="; ".join(told) or ", ".join(value["connectors"]))


def _keys(age: int, limit: int) -> str:
    if age < 0:
        return words.health.keys_none
    return words.health.keys_detail.format(age=duration(age), limit=duration(limit))


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    """A table of settings as lines of path and value."""
    if isinstance(value, Mapping) and value:
        return [line for name, inner in value.items() for line in _flat(f"{path}.{name}" if path else name, inner)]
    if isinstance(value, list) and value:
        if not any(isinstance(one, (Mapping, list)) for one in value):
            return [(path, ", ".join(map(str, value)))]
        return [line for number, inner in enumerate(value) for line in _flat(f"{path}[{number}]", inner)]
    return [(path, words.health.empty if value in ("", None, [], {}) else str(value))]
