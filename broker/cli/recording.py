"""From a real incident to a recorded case: what was asked and answered, as the gate keeps it (redacted), in one folder.

The arguments are those of the actions, and ``target`` beside them names the resource; a source is one resource of one
connector. What the gate told the agent of the incident (alert, topology, window) becomes ``case.json``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.cli.exits import Stop
from broker.connectors.replay_case import read_case
from broker.topology import is_place

BEFORE_SECONDS: Final = 900
Observed = Sequence[tuple[Mapping[str, Any], tuple[str, Any]]]
"""Each read, with the status and the value of what was answered."""


def write_case(folder: Path, whole: Mapping[str, Any], observed: Observed, signals: Mapping[str, str]) -> int:
    """Write ``case.json`` and ``observations.jsonl``; how many observations. Raises ``Stop`` for a folder that is in use.

    ``whole`` is the incident's detail; ``observed`` are its reads with what the gate kept: what was empty, cut off or an
    error stays that. ``signals`` are the classes of evidence that the catalog declares; a read of none is left out.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Stop(f"{folder} is not empty", "name a new folder")
    entries = [
        _entry(action, signal, status, value)
        for action, (status, value) in observed
        if (signal := signals.get(str(action["action"])))
    ]
    (folder / "case.json").write_text(json.dumps(_case(whole, observed), indent=1) + "\n", encoding="utf-8")
    lines = (json.dumps(entry) + "\n" for entry in entries)
    (folder / "observations.jsonl").write_text("".join(lines), encoding="utf-8")
    read_case(folder)
    return len(entries)


def _case(whole: Mapping[str, Any], observed: Observed) -> dict[str, Any]:
    incident = whole["incident"]
    began = int(incident.get("since") or incident.get("opened_at") or 0)
    ended = max([began + 1, *(int(action["at"]) + 1 for action, _ in observed)])
    alert = dict(incident.get("alert") or {})
    status, service = {"status": "resolved"} if incident.get("until") else {}, str(incident.get("service", ""))
    return {
        "id": str(incident["id"]),
        "question": str(incident.get("title", "")),
        "alert": {**alert, "title": str(incident.get("title", "")), "service": service, "starts_at": began, **status},
        "window": {"since": max(0, began - BEFORE_SECONDS), "until": ended},
        "topology": _topology(whole.get("topology") or {}),
    }


def _topology(known: Mapping[str, Any]) -> dict[str, Any]:
    """Components and what they depend on; a place of the inventory is none, and a case knows no other kind of name."""
    edges = [list(edge) for edge in known.get("edges", ())]
    tied = {name for edge in edges for name in edge}
    nodes = [one for one in known.get("nodes", ()) if not is_place(str(one.get("type", "")), tied=one["id"] in tied)]
    names = {one["id"] for one in nodes}
    return {"nodes": nodes, "edges": [edge for edge in edges if names.issuperset(edge)]}


def _entry(action: Mapping[str, Any], signal: str, status: str, value: Any) -> dict[str, Any]:
    resource = action.get("resource") or {}
    place = f"{resource.get('type', '')}:{resource.get('id', '')}"
    name = str(action["action"])
    return {
        "action": name,
        "args": {**(action.get("arguments") or {}), "target": str(resource.get("id", ""))},
        "source": f"{name.partition('.')[0]}:{place}",
        "signal": signal,
        "at": int(action["at"]),
        "output": value,
        "status": status,
    }
