"""From a HolmesGPT fixture to a recorded case.

A fixture is a folder with ``test_case.yaml`` (``user_prompt``, ``expected_output``), maybe a request as JSON, and one
``.txt`` a tool call: line 1 ``{"toolset_name", "tool_name", "match_params"}``, line 2 the result's metadata, the rest raw.
Manifests, Helm charts and runbooks of the fixture made the incident: they would give the answer away, and stay out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

SUITES = ("test_ask_holmes", "test_investigate", "test_workload_health")
_STATUS = {"success": "ok", "no_data": "empty", "error": "error"}
SIGNALS: tuple[tuple[str, str], ...] = (
    (r"internet|runbook|fetch_webpage|documentation|list_available|list_prometheus_rules|get_yaml", "config"),
    (r"events|logs?\b|_logs|grep", "log"),
    (r"metrics|prometheus|top_(?:pods|nodes)|memory_requests", "metric"),
    (r"tempo|trace", "trace"),
    (r"list_prometheus_rules|alert", "alert"),
)
"""Pattern over toolset and tool -> signal class; the first that fits counts, else ``state``."""
_TIMES = re.compile(r"\b(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)")


def fixtures(root: Path) -> list[Path]:
    """Every fixture of the corpus, in order of names."""
    return [folder for suite in SUITES for folder in sorted((root / suite).iterdir()) if folder.is_dir()]


def name(folder: Path) -> str:
    """The case's name."""
    return f"{folder.parent.name.removeprefix('test_')}.{folder.name}"


def expected(folder: Path) -> list[str]:
    """The sentences that a right answer says."""
    given = yaml.safe_load((folder / "test_case.yaml").read_text(encoding="utf-8"))["expected_output"]
    return [str(given)] if not isinstance(given, list) else [str(one) for one in given]


def convert(folder: Path, into: Path) -> None:
    """Write ``case.json`` and ``observations.jsonl`` of ``folder`` to ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    prompt = yaml.safe_load((folder / "test_case.yaml").read_text(encoding="utf-8")).get("user_prompt") or ""
    question = " ".join(prompt) if isinstance(prompt, list) else str(prompt)
    entries = list(_entries(folder))
    alert = _alert(folder)
    stamps = sorted(_TIMES.findall("".join(json.dumps(entry["output"])[:20_000] for entry in entries)))
    until = f"{stamps[-1]}+00:00" if stamps else "2025-01-01T01:00:00+00:00"
    case = {
        "id": name(folder),
        "question": question or str(alert.get("title", "")),
        "alert": alert or None,
        "window": {"since": _earlier(until), "until": until},
    }
    (into / "case.json").write_text(json.dumps(case), encoding="utf-8")
    (into / "observations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries), encoding="utf-8")


def _earlier(until: str) -> str:
    """An hour before."""
    return (datetime.fromisoformat(until) - timedelta(hours=1)).isoformat()


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """One entry a recorded call; the same call recorded twice counts once."""
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.txt")):
        head, _, rest = path.read_text(encoding="utf-8").partition("\n")
        meta, _, raw = rest.partition("\n")
        try:
            call, result = json.loads(head), json.loads(meta)
        except ValueError:
            continue
        if not isinstance(call, dict) or "tool_name" not in call or not isinstance(result, dict):
            continue
        status = _STATUS.get(str(result.get("status")), "ok")
        entry = {
            "action": f"{call['toolset_name']}.{call['tool_name']}",
            "args": call.get("match_params") or {},
            "source": str(call["toolset_name"]),
            "signal": _signal(f"{call['toolset_name']} {call['tool_name']}"),
            "at": 0,
            "output": _output(raw) if raw.strip() else str(result.get("error") or ""),
            "status": status,
        }
        key = json.dumps([entry["action"], entry["args"]], sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield entry


def _output(raw: str) -> Any:
    """JSON where the tool gave JSON, else its text without the frame that the recorder put around it."""
    text = re.sub(r"\A\s*stdout:\n", "", raw)
    text = re.sub(r"\n?stderr:\s*\Z", "", text)
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _signal(tool: str) -> str:
    return next((signal for pattern, signal in SIGNALS if re.search(pattern, tool)), "state")


def _alert(folder: Path) -> Mapping[str, Any]:
    """The request that came with the fixture, without the instructions to a model."""
    for file in ("investigate_request.json", "workload_health_request.json"):
        path = folder / file
        if path.exists():
            given = json.loads(path.read_text(encoding="utf-8"))
            kept = {
                key: given[key] for key in ("title", "description", "subject", "resource", "source") if given.get(key)
            }
            return {"title": str(given.get("ask") or "workload health"), **kept}
    return {}
