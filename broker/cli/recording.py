"""From a real incident to a recorded case: what was asked and answered, as the gate keeps it (redacted), in one folder.

The arguments are those of the actions, and ``target`` beside them names the resource; a source is one resource of one
connector. What the gate told the agent of the incident (alert, topology, window) becomes ``case.json``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.cli.exits import Stop
from broker.connectors.replay_case import read_case

BEFORE_SECONDS: Final = 900
SIGNALS: Final = (
    (r"\.alerts?\.|alert", "alert"),
    (r"^git\.|\.(?:history|commit|change|deploy\w*)\.", "change"),
    (r"\.config\.", "config"),
    (r"metric|^prometheus\.|\.query\.", "metric"),
    (r"log|\.lines\.|\.templates\.", "log"),
    (r"trace|span", "trace"),
)
"""Pattern over the action's name -> signal class; the first that fits counts, else ``state``."""


def write_case(folder: Path, whole: Mapping[str, Any], observed: Sequence[tuple[Mapping[str, Any], Any]]) -> int:
    """Write ``case.json`` and ``observations.jsonl``; how many observations. Raises ``Stop`` for a folder that is in use.

    ``whole`` is the incident's detail; ``observed`` are its reads with the values that the gate kept.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Stop(f"{folder} is not empty", "name a new folder")
    entries = [_entry(action, value) for action, value in observed]
    (folder / "case.json").write_text(json.dumps(_case(whole, observed), indent=1) + "\n", encoding="utf-8")
    lines = (json.dumps(entry) + "\n" for entry in entries)
    (folder / "observations.jsonl").write_text("".join(lines), encoding="utf-8")
    read_case(folder)
    return len(entries)


def _case(whole: Mapping[str, Any], observed: Sequence[tuple[Mapping[str, Any], Any]]) -> dict[str, Any]:
    incident = whole["incident"]
    began = int(incident.get("since") or incident.get("opened_at") or 0)
    ended = max([began + 1, *(int(action["at"]) + 1 for action, _ in observed)])
    alert = dict(incident.get("alert") or {})
    status = {"status": "resolved"} if incident.get("until") else {}
    topology = whole.get("topology") or {}
    return {
        "id": str(incident["id"]),
        "question": str(incident.get("title", "")),
        "alert": {**alert, "title": incident.get("title", ""), "service": incident.get("service", ""), **status},
        "window": {"since": max(0, began - BEFORE_SECONDS), "until": ended},
        "topology": {"nodes": list(topology.get("nodes", ())), "edges": [list(e) for e in topology.get("edges", ())]},
    }


def _entry(action: Mapping[str, Any], value: Any) -> dict[str, Any]:
    resource = action.get("resource") or {}
    place = f"{resource.get('type', '')}:{resource.get('id', '')}"
    name = str(action["action"])
    return {
        "action": name,
        "args": {**(action.get("arguments") or {}), "target": str(resource.get("id", ""))},
        "source": f"{name.partition('.')[0]}:{place}",
        "signal": next((signal for pattern, signal in SIGNALS if re.search(pattern, name)), "state"),
        "at": int(action["at"]),
        "output": value,
    }
