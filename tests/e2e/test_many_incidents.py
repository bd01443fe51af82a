"""Many incidents at once, workers killed at random: no two effects in conflict, none stranded, none acted on twice."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.drill.responder import Campaign, Seen
from tests.drill.responder_verdict import judge

Record = dict[str, Any]


def test_twenty_incidents_at_once_over_services_that_meet_end_each_once_and_apart(tmp_path: Path) -> None:
    # On PostgreSQL, and longer: python -m tests.drill --campaign responder.
    seen = asyncio.run(Campaign(tmp_path, store_url="", incidents=20, kills=12, seed=7, patience=300).run())
    verdict = judge(seen)
    assert verdict.violations == []
    assert verdict.counts["kills"] == 12
    assert verdict.counts["effects"] >= 2, verdict.counts
    for falsify, said in FALSE:
        found = judge(falsify(seen)).violations
        assert any(said in one for one in found), (said, found)


def twice(seen: Seen) -> Seen:
    return replace(seen, arrived=[*seen.arrived, seen.arrived[0]])


def unasked(seen: Seen) -> Seen:
    return replace(seen, arrived=[*seen.arrived, ("act_unknown", "cache/clear", "cart")])


def stranded(seen: Seen) -> Seen:
    return replace(seen, incidents=[replace(seen.incidents[0], state="verifying"), *seen.incidents[1:]])


def unrecorded(seen: Seen) -> Seen:
    lost = next(one for one in reversed(seen.records) if one["kind"] == "incident")
    return replace(seen, records=[one for one in seen.records if one is not lost])


def unending(seen: Seen) -> Seen:
    clear = next(one for one in seen.records if one["kind"] == "intent" and _name(one) == "local.cache.clear")
    return replace(seen, records=[one for one in seen.records if one.get("about") != clear["id"]])


def together(seen: Seen) -> Seen:
    """Every remedy as if it had begun at one instant."""
    first = min(int(one["time_ns"]) for one in seen.records if one["kind"] == "intent")
    moved = [
        {**one, "time_ns": str(first)} if one["kind"] == "intent" and _name(one) == "local.cache.clear" else one
        for one in seen.records
    ]
    arrived = [(action, verb, "pay") for action, verb, _ in seen.arrived]
    return replace(seen, records=moved, arrived=arrived)


def _name(record: Record) -> str:
    return str(record["body"]["action"]["name"])


FALSE: list[tuple[Callable[[Seen], Seen], str]] = [
    (twice, "came to its target 2 times"),
    (unasked, "without an intent"),
    (stranded, "is stranded in verifying"),
    (unrecorded, "are on record as"),
    (unending, "has no end"),
    (together, "at once"),
]
"""What the verdict must see, each done to the record of a campaign that went well."""
