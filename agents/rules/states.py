"""States as objects: what runs, what does not, what was restarted again and again, which index a database lacks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents.rules.finding import Claim, claim
from agents.rules.reading import DEPTH_MAX, Line, target, workload
from agents.rules.signs import CAUSE, Sign, quote
from agents.rules.view import Seen

Json = Any
RESTARTS = 3
_DOWN = frozenset({"stopped", "failed", "exited", "crashed", "dead", "crashloopbackoff", "backoff", "error"})
_WELL = frozenset({"running", "ready", "healthy", "available", "active", "ok", "up"})


def read(seen: Seen) -> tuple[list[Sign], list[tuple[str, Claim]]]:
    """Signs of processes that do not stay up, and ``(component, claim)`` for those that are well."""
    signs: list[Sign] = []
    well: list[tuple[str, Claim]] = []
    for path, entry in _entries(seen.value, "$", DEPTH_MAX):
        component = workload(str(entry["name"])) if isinstance(entry.get("name"), str) else target(seen.query)
        member = "state" if isinstance(entry.get("state"), str) else "status"
        # Deaths of its own since it was last well, where they are told apart from restarts that somebody ordered.
        counted = "exits" if "exits" in entry else "restarts"
        state, times = str(entry[member]).lower(), entry.get(counted)
        often = isinstance(times, int) and not isinstance(times, bool) and times >= RESTARTS
        if state in _DOWN:
            words, stage = (
                f"{component} is {state}",
                claim(
                    seen.observation,
                    f"{path}.{member}",
                    "eq",
                    entry[member],
                    text=f"{component} is {state}",
                    component=component,
                ),
            )
            signs.append(_sign(seen, component, stage, words, 800))
        if often:
            made = claim(
                seen.observation,
                f"{path}.{counted}",
                "ge",
                RESTARTS,
                text=f"{component} was restarted again and again",
                component=component,
            )
            signs.append(_sign(seen, component, made, "restarted again and again", 750))
        elif state in _WELL and not entry.get("exits"):
            made = claim(
                seen.observation,
                f"{path}.{member}",
                "eq",
                entry[member],
                text=f"{component} is {state}",
                role="context",
            )
            well.append((component, made))
    return [*signs, *_lacking(seen)], well


def _lacking(seen: Seen) -> list[Sign]:
    """Indexes that are named and not there: why a query scans, and by its claim what has to be created."""
    listed = seen.value.get("indexes") if isinstance(seen.value, Mapping) else None
    signs = []
    for entry in listed if isinstance(listed, list) else ():
        if (
            not isinstance(entry, Mapping)
            or entry.get("present") is not False
            or not _PLAIN.fullmatch(str(entry.get("index")))
        ):
            continue
        component, name = target(seen.query), entry["index"]
        made = claim(
            seen.observation,
            f'$.indexes[?present==false && index=="{name}"].index',
            "eq",
            name,
            text=f"the database of {component} lacks the index {name} of {entry.get('table')}",
            component=component,
        )
        words = f"the index {name} is missing"
        signs.append(replace(_sign(seen, component, made, words, 850), fault="slow-query"))
    return signs


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_READY = re.compile(r"^\s*Ready:?\s+True\b|\s([1-9]\d*)/\1\s+Running\b|^\s*Status:\s+(?:Running|Active|Bound)\b")
_UNREADY = re.compile(
    r"^\s*(?:Ready|ContainersReady|Available):?\s+False\b|\s0/\d+\s+\w|^\s*(?:State|Status):\s+(?:Waiting|Pending|Failed)\b"
)


def texts(seen: Seen, lines: Sequence[Line]) -> list[Claim]:
    """Lines of a description that say that the thing is ready; none where another says that it is not."""
    if seen.query.signal != "state" or any(_UNREADY.search(line.text) for line in lines):
        return []
    found = [line for line in lines if _READY.search(line.text)]
    return [{**quote(seen.observation, line, "context")} for line in found[:2]]


def _sign(seen: Seen, component: str, made: Claim, words: str, weight: int) -> Sign:
    source = seen.query.source or f"{seen.query.type}/{seen.query.id}"
    signal = seen.query.signal or "state"
    return Sign(
        component, "crash-loop", CAUSE, weight, signal, source, seen.observation, None, made, words, kind="state"
    )


def _entries(value: Json, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Objects that describe a process: a state beside a pid or a count of restarts."""
    if depth == 0:
        return
    if isinstance(value, Mapping):
        named = isinstance(value.get("state"), str) or isinstance(value.get("status"), str)
        if named and ({"pid", "restarts"} & set(value)):
            yield path, value
            return
        for name, item in value.items():
            if isinstance(item, (Mapping, list)) and "'" not in name:
                yield from _entries(item, f"{path}['{name}']", depth - 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _entries(item, f"{path}[{place}]", depth - 1)
