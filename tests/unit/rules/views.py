"""A view in memory: answers by action and component, and builders of what tools answer."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from agents.rules import Facts, Query, Seen

Json = Any
BEGIN = 1_770_000_000
STEP = 15
POINTS = 60
FAULT_AT = BEGIN + 40 * STEP
END = BEGIN + POINTS * STEP
SERVED = "shop_requests_total"


class MemoryView:
    """Answers from a dictionary ``(action, id, metric or empty) -> value``; anything else is empty."""

    def __init__(self, facts: Facts, answers: Mapping[tuple[str, str, str], Json]) -> None:
        self.facts = facts
        self.answers = answers
        self.actions = frozenset(action for action, _, _ in answers)
        self.asked: list[Query] = []

    async def read(self, query: Query) -> Seen:
        """One answer."""
        self.asked.append(query)
        key = (query.action, query.id, str(query.arguments.get("metric", "")))
        observation = f"obs_{len(self.asked):026d}"
        value = self.answers.get(key)
        if isinstance(value, Exception):
            return Seen(query, "error", {"code": "upstream.failed"}, observation)
        return Seen(query, "ok" if value else "empty", value, observation)


def shop(*, memory: Sequence[Mapping[str, Json]] = (), title: str = "HighErrorRate", resolved: bool = False) -> Facts:
    """storefront -> checkout -> inventory, payments; the storefront's alert."""
    names = ("storefront", "checkout", "inventory", "payments")
    edges = (("storefront", "checkout"), ("checkout", "inventory"), ("checkout", "payments"))
    nodes = {**dict.fromkeys(names, "process"), "shop-config": "repository"}
    return Facts(
        "inc_1", title, "storefront", "prod", BEGIN, END, nodes=nodes, edges=edges, memory=memory, resolved=resolved
    )


def errors(service: str, *, own: float = 0.0, passed: float = 0.0, at: int = FAULT_AT) -> Json:
    """Counters of failed requests: errors a step from ``at`` on."""
    rows = []
    for origin, rate in (("self", own), ("upstream", passed)):
        total, points = 0.0, []
        for place in range(POINTS):
            now = BEGIN + place * STEP
            total += rate if now >= at else 0
            points.append([now, f"{total:g}"])
        rows.append({"labels": {"service": service, "origin": origin}, "points": points})
    return {"metric": "shop_errors_total", "series": rows}


def log(*entries: tuple[int, str, str]) -> Json:
    """Log lines: instant, level, text."""
    lines = [{"at": at, "level": level, "text": text} for at, level, text in entries]
    return {"lines": lines, "matched": len(lines), "scanned": len(lines)}


def repeated(text: str, *, level: str = "error", times: int = 8) -> Json:
    """The same line again and again from the fault on."""
    return log(*((FAULT_AT + place, level, text) for place in range(times)))


def commit(text: str, paths: Sequence[str], at: int = FAULT_AT - 60) -> Json:
    """One commit."""
    return {"commits": [{"commit": "c0ffee", "at": at, "author": "a", "subject": text, "paths": list(paths)}]}


def noise(seed: int, *, level: float, spread: float, points: int = POINTS) -> list[tuple[int, float]]:
    """Noise around a level, the same for a seed."""
    dice = random.Random(seed)
    return [(BEGIN + place * STEP, level + dice.uniform(-spread, spread)) for place in range(points)]


def running(service: str, *, state: str = "running", restarts: int = 0) -> Json:
    """A supervised process."""
    return {"name": service, "pid": 4711, "state": state, "started_at_ns": 1, "restarts": restarts}


def served(service: str) -> Json:
    """As many requests in each step."""
    points = [[BEGIN + place * STEP, str(10 * place)] for place in range(POINTS)]
    return {"metric": SERVED, "series": [{"labels": {"service": service}, "points": points}]}
