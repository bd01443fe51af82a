"""A small recorded case on disk, and the seal of the gate's commits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.connectors.seal import Seal

SEAL = Seal(b"k" * 32)
SINCE, UNTIL = 1_770_000_000, 1_770_000_900


def case(**change: Any) -> dict[str, Any]:
    """``case.json``; a change of None takes the member out."""
    whole = {
        "id": "pool",
        "question": "why do payments fail",
        "alert": {"title": "HighErrorRate", "labels": {"service": "payments"}},
        "window": {"since": SINCE, "until": UNTIL},
        "topology": {"nodes": ["checkout", "payments"], "edges": [["checkout", "payments"]]},
        **change,
    }
    return {name: value for name, value in whole.items() if value is not None}


def entry(action: str = "logs.lines.search", **change: Any) -> dict[str, Any]:
    """One observation."""
    whole = {
        "action": action,
        "args": {"service": "payments"},
        "source": "loki",
        "signal": "log",
        "at": UNTIL,
        "output": "error: connection pool exhausted: 8 of 8 in use\n" * 5,
    }
    return whole | change


def errors(service: str = "payments") -> dict[str, Any]:
    """A metric of failed requests that rises in the middle."""
    points = [[SINCE + place * 15, "0.02" if place < 40 else "0.9"] for place in range(60)]
    series = [{"labels": {"service": service, "__name__": "error_ratio", "origin": "self"}, "points": points}]
    args = {"query": f'error_ratio{{service="{service}"}}', "start_s": SINCE, "end_s": UNTIL}
    return entry("prometheus.query.range", args=args, source="prometheus", signal="metric", output={"series": series})


def write(folder: Path, case_: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_text(json.dumps(case_), encoding="utf-8")
    (folder / "observations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries), encoding="utf-8")
    return folder
