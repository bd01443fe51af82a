"""What a model sees of an answer: a summary of a bounded size, and the handle by which a claim cites the whole.

The whole stays in the gate. A summary says how much there is, so that nobody takes what is shown for all of it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.rules import Seen

Json = Any
BYTES_MAX = 3000
"""Of one summary, as JSON."""
SERIES_MAX = 12
LINES_MAX = 12
TEXT_MAX = 240


def brief(seen: Seen) -> dict[str, Json]:
    """An answer as the model is told it; everything under ``summary`` was written by the systems that were asked."""
    told: dict[str, Json] = {"observation": seen.observation, "status": seen.status, "untrusted": True}
    for summary in (_summary(seen.value), _shortened(seen.value, 1200), _shortened(seen.value, 200)):
        whole = {**told, "summary": summary}
        if len(json.dumps(whole, ensure_ascii=False).encode()) <= BYTES_MAX:
            return whole
    return {**told, "summary": "too large to show; narrow the query"}


def _summary(value: Json) -> Json:
    if not isinstance(value, Mapping):
        return _shortened(value, 1200)
    told: dict[str, Json] = {}
    for name, item in value.items():
        if isinstance(item, list) and item and all(isinstance(one, Mapping) for one in item):
            most = SERIES_MAX if "points" in item[0] else LINES_MAX
            told[name] = {"count": len(item), "first": [_entry(one) for one in item[:most]]}
        else:
            told[name] = _shortened(item, 400)
    return told


def _entry(entry: Mapping[str, Json]) -> Json:
    """One series as its extremes, or one line or change, shortened."""
    points = entry.get("points")
    if not isinstance(points, list):
        return {name: _shortened(item, TEXT_MAX) for name, item in entry.items()}
    rest = {name: _shortened(item, TEXT_MAX) for name, item in entry.items() if name != "points"}
    levels = [(float(pair[1]), pair[0]) for pair in points if _is_pair(pair)]
    if not levels:
        return {**rest, "points": len(points)}
    low, high = min(levels), max(levels)
    told = {
        "points": len(points),
        "first": points[0],
        "last": points[-1],
        "min": [low[1], str(low[0])],
        "max": [high[1], str(high[0])],
    }
    return {**rest, **told}


def _is_pair(pair: Json) -> bool:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        return False
    try:
        return not math.isnan(float(pair[1]))
    except (TypeError, ValueError):
        return False


def _shortened(value: Json, characters: int) -> Json:
    """``value`` as it is where it is short; else the beginning of its JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= characters else text[:characters] + "…"
