"""Load profiles of a database: which statements it works on, and what they wait for.

The kind of wait tells what the load consists of, and with it whether a saturated processor is the cause or the effect.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.rules.finding import Claim, claim
from agents.rules.reading import DEPTH_MAX, target
from agents.rules.signs import CAUSE, Sign
from agents.rules.view import Seen

Json = Any
SUPPORT = "support"
"""Kind of a sign that only strengthens what something else names: every database waits for something."""
BUSY_SESSIONS = 2.0
MOST = 0.5
WAITS: Mapping[str, str] = {
    "cpu": "cpu-saturated",
    "lock": "lock-hang",
    "client": "connections-exhausted",
    "wal": "replication-lag",
}
"""What a wait class is the mark of; other classes (buffers, data files) are the mark of nothing by themselves."""


def read(seen: Seen) -> tuple[list[Sign], list[tuple[str, str, Claim]]]:
    """Signs of a profile, and what it speaks against: ``(component, fault, claim)``."""
    signs: list[Sign] = []
    against: list[tuple[str, str, Claim]] = []
    for path, waits in _waits(seen.value, "$", DEPTH_MAX):
        component = _owner(seen)
        total = sum(load for _, load in waits)
        if total < BUSY_SESSIONS:
            continue
        name, load = max(waits, key=lambda one: one[1])
        fault = WAITS.get(_class(name), "")
        made = claim(
            seen.observation,
            f"{path}[*].name | first",
            "eq",
            name,
            text=f"what the database waits for most: {name}",
            component=component,
        )
        if fault and load >= MOST * total and waits[0][0] == name:
            source = seen.query.source or f"{seen.query.type}/{seen.query.id}"
            signal = seen.query.signal or "trace"
            signs.append(
                Sign(component, fault, CAUSE, 550, signal, source, seen.observation, None, made, name, kind=SUPPORT)
            )
        share = sum(load for name, load in waits if _class(name) == "cpu") / total
        if share < 0.2 and waits[0][0] == name:
            against.append((component, "cpu-saturated", made))
    return signs, against


def _class(name: str) -> str:
    """``CPU:user`` -> ``cpu``; waits for the write-ahead log count as one class wherever they are filed."""
    head = name.partition(":")[0].lower()
    return "wal" if "wal" in name.lower() else head


def _owner(seen: Seen) -> str:
    value = seen.value
    named = value.get("db_instance_identifier") if isinstance(value, Mapping) else None
    return str(named) if named else target(seen.query)


def _waits(value: Json, path: str, depth: int) -> Iterator[tuple[str, Sequence[tuple[str, float]]]]:
    """Lists of wait events at the top of a profile: the statement's own lists are parts of them."""
    if depth == 0 or not isinstance(value, Mapping):
        return
    for name, item in value.items():
        if isinstance(item, list) and "wait" in name and item and all(_is_wait(one) for one in item):
            loads = [(str(one["name"]), float(_load(one))) for one in item]
            yield f"{path}.{name}", loads
        elif isinstance(item, Mapping):
            yield from _waits(item, f"{path}.{name}", depth - 1)


def _is_wait(value: Json) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("name"), str) and _load(value) >= 0


def _load(value: Mapping[str, Json]) -> float:
    found = next((value[name] for name in ("db_load_avg", "load", "sessions", "share") if name in value), -1)
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else -1.0
