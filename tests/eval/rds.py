"""From an opensre scenario (RDS PostgreSQL) to a recorded case.

A scenario is a folder with ``alert.json``, ``aws_*.json`` (what each source answered), ``answer.yml`` (the expected
category and words) and ``scenario.yml``. What the alert says of the failure mode is left out: it is the answer.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SIGNALS = {
    "aws_cloudwatch_metrics": ("cloudwatch", "metric"),
    "aws_rds_events": ("rds-events", "change"),
    "aws_performance_insights": ("performance-insights", "trace"),
}
_GIVEN_AWAY = ("rds_failure_mode", "context_sources")


def fixtures(root: Path) -> list[Path]:
    """Every scenario, in order of names."""
    folder = root / "tests" / "synthetic" / "rds_postgres"
    return sorted(one for one in folder.iterdir() if (one / "scenario.yml").exists())


def name(folder: Path) -> str:
    """The case's name."""
    return f"rds.{folder.name}"


def expected(folder: Path) -> dict[str, Any]:
    """Category, words and component of a right answer."""
    found: dict[str, Any] = yaml.safe_load((folder / "answer.yml").read_text(encoding="utf-8"))
    mode = yaml.safe_load((folder / "scenario.yml").read_text(encoding="utf-8"))["failure_mode"]
    notes = json.loads((folder / "alert.json").read_text(encoding="utf-8"))["commonAnnotations"]
    return {**found, "failure_mode": mode, "components": [_component(found, notes)]}


def _component(answer: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """Of which instance the answer speaks: the first that its root cause names, else the alert's summary, else its own."""
    instance = notes["db_instance_identifier"]
    name = re.compile(rf"(?<![\w-]){re.escape(instance)}(?:-replica-\d+)?(?![\w-])")
    cause = str(answer["model_response"]).split("ROOT_CAUSE_CATEGORY", maxsplit=1)[0]
    return next(found[0] for text in (cause, notes["summary"], instance) if (found := name.findall(text)))


def convert(folder: Path, into: Path) -> None:
    """Write ``case.json`` and ``observations.jsonl`` of ``folder`` to ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    given = json.loads((folder / "alert.json").read_text(encoding="utf-8"))
    notes = {key: value for key, value in given["commonAnnotations"].items() if key not in _GIVEN_AWAY}
    instance = notes["db_instance_identifier"]
    alert = {
        "title": given["title"],
        "status": "resolved" if given["state"] == "normal" else "firing",
        "labels": given["commonLabels"],
        "annotations": notes,
    }
    replicas = [notes[key] for key in ("read_replica", "db_cluster") if notes.get(key)]
    entries, since, until = [], "", ""
    for stem, (source, signal) in SIGNALS.items():
        output = _output(folder, stem, instance)
        since, until = output.get("start_time") or since, output.get("end_time") or until
        args = {"db_instance_identifier": instance}
        entries.append({"action": f"aws.{stem.removeprefix('aws_')}.read", "args": args, "source": source})
        entries[-1] |= {"signal": signal, "at": until or "2026-03-26T00:00:00Z", "output": output}
    case = {
        "id": name(folder),
        "question": given["title"],
        "alert": alert,
        "window": {"since": since, "until": until},
        "topology": {"nodes": [instance, *replicas], "edges": [[instance, one] for one in replicas]},
    }
    (into / "case.json").write_text(json.dumps(case), encoding="utf-8")
    (into / "observations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries), encoding="utf-8")


def _output(folder: Path, stem: str, instance: str) -> dict[str, Any]:
    """What a source answered: one file, or an envelope with a file a metric."""
    path = folder / f"{stem}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    envelope = folder / f"{stem}_envelope.json"
    if not envelope.exists():
        return {"db_instance_identifier": instance}
    whole: dict[str, Any] = json.loads(envelope.read_text(encoding="utf-8"))
    parts = [one for one in sorted(folder.glob(f"{stem}_*.json")) if one != envelope]
    whole["metric_data_results"] = [json.loads(one.read_text(encoding="utf-8")) for one in parts]
    return whole
