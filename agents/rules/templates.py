"""Log templates that came or went: what a log began to say within the window, and what it no longer says.

An answer is ``{"templates": [{"template", "count", "first_s", "last_s", "level"}]}``. It names no fault by itself: what came
dates the trouble of its component where no metric does, what went says that something is not well, and both go to the people
and the model with their claims. A log that is younger than the trouble has nothing to compare with, and shows nothing.
"""

from collections.abc import Mapping
from typing import Any

from agents.rules.finding import claim
from agents.rules.reading import target
from agents.rules.signs import SYMPTOM, Sign
from agents.rules.view import Seen

Json = Any
APPEARED, VANISHED = "appeared", "vanished"
SHAPES = frozenset({APPEARED, VANISHED})
SPAN_SECONDS = 20
"""A shorter log tells nothing of before and after."""
PART = 4
"""What came stayed away for a quarter of the log's span at least; what went is silent for as long."""
CAME, WENT = 3, 5
"""So many lines at least."""
BEATS = 5
"""So many of its usual pauses is what went overdue."""
WEIGHT = 300
_LOUD = frozenset({"warning", "warn", "error", "fatal", "critical"})


def read(seen: Seen) -> list[Sign]:
    """Signs of one answer; none where a part of it was cut off, for the rest could hold what seems gone."""
    listed = seen.value.get("templates") if isinstance(seen.value, Mapping) else None
    if seen.status != "ok" or not isinstance(listed, list):
        return []
    rows = [(place, row) for place, row in enumerate(listed) if _is_row(row)]
    if len(rows) < 2:
        return []
    begin, end = min(row["first_s"] for _, row in rows), max(row["last_s"] for _, row in rows)
    away = (end - begin) // PART
    if end - begin < SPAN_SECONDS:
        return []
    signs = []
    for place, row in rows:
        pause = (row["last_s"] - row["first_s"]) / row["count"]
        if row["first_s"] >= begin + away and row["count"] >= CAME and row["level"] in _LOUD:
            signs.append(_sign(seen, place, row, APPEARED, begin + away))
        elif row["count"] >= WENT and row["last_s"] + max(away, BEATS * pause) <= end:
            signs.append(_sign(seen, place, row, VANISHED, end - away))
    return signs


def _is_row(row: Json) -> bool:
    numbers = ("count", "first_s", "last_s")
    return (
        isinstance(row, Mapping)
        and all(type(row.get(name)) is int for name in numbers)
        and isinstance(row.get("template"), str)
        and row["count"] > 0
        and isinstance(row.get("level"), str)
    )


def _sign(seen: Seen, place: int, row: Mapping[str, Json], kind: str, bound: int) -> Sign:
    came = kind == APPEARED
    member = "first_s" if came else "last_s"
    component = target(seen.query)
    text = f"its log {'began to say' if came else 'no longer says'}: {row['template'][:160]}"
    selector = f"$.templates[{place}].{member}"
    made = claim(
        seen.observation,
        selector,
        "ge" if came else "le",
        str(bound),
        text=text,
        role="symptom",
        component=component,
        at=selector if came else "",
    )
    source = seen.query.source or f"{seen.query.type}/{seen.query.id}"
    at = row["first_s"] if came else None
    signal = seen.query.signal or "log"
    return Sign(
        component, "", SYMPTOM, WEIGHT, signal, source, seen.observation, at, made, text, count=row["count"], kind=kind
    )
