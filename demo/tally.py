"""What a run did, counted from what it added to the log and the files, never from the demo's own variables.

The log is read as anybody can read it: C2SP tlog-tiles in a folder, the entry bundles holding one canonical JSON record
an entry behind a length of two bytes. Its verification is not done here but by ``wicketgate audit verify``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Any

BUNDLE_ENTRIES = 256
NOTICES = "notices.jsonl"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the log and the files end at one moment."""

    records: int
    model_lines: int
    process_lines: int
    level_lines: int
    notice_lines: int = 0


def mark(log: Path, folder: Path) -> Mark:
    """The present ends; all 0 for a fresh folder."""
    known = (len(lines(folder / name)) for name in ("model-requests.jsonl", "processes.jsonl", "sli.jsonl", NOTICES))
    return Mark(size(log), *known)


def size(log: Path) -> int:
    """Records that the published checkpoint covers; 0 without one."""
    try:
        return int((log / "checkpoint").read_text(encoding="utf-8").split("\n")[1])
    except FileNotFoundError:
        return 0


def records(log: Path, start: int = 0) -> Iterator[Mapping[str, Json]]:
    """The records from number ``start`` on; raises ``ValueError`` where a bundle does not hold what it should."""
    whole = size(log)
    for bundle in range(start // BUNDLE_ENTRIES, -(-whole // BUNDLE_ENTRIES)):
        first = bundle * BUNDLE_ENTRIES
        entries = _entries(_bundle(log, bundle, min(BUNDLE_ENTRIES, whole - first)))
        for entry in entries[max(0, start - first) : whole - first]:
            yield json.loads(entry)


def lines(path: Path) -> list[dict[str, Json]]:
    """The objects of a JSON-lines file; none where it does not exist. A line that is being written is not there yet."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def count(log: Path, folder: Path, since: Mark) -> dict[str, Json]:
    """The figures of the final object, but for the two verdicts of the verifier."""
    new = list(records(log, since.records))
    intents = {entry["body"]["action"]["id"]: entry["body"]["action"] for entry in new if entry["kind"] == "intent"}
    done = [
        entry["body"]["action"]["id"]
        for entry in new
        if entry["kind"] == "outcome" and entry["body"]["outcome"]["status"] == "done"
    ]
    executed = [action for action in done if writes(intents.get(action, {}))]
    calls = [
        line for line in lines(folder / "model-requests.jsonl")[since.model_lines :] if line["path"] == "/v1/messages"
    ]
    return {
        "allowed": len(intents),
        "refused": [
            {"action": entry["body"]["action"]["name"], "code": entry["body"]["error"]}
            for entry in new
            if entry["kind"] == "refusal"
        ],
        "approved": sum(
            1 for entry in new if entry["kind"] == "review" and entry["body"]["approval"]["verdict"] == "approve"
        ),
        "executed": len(executed),
        "redactions": sum(sum(entry["body"].get("redaction", {}).get("counts", {}).values()) for entry in new),
        "model_calls": len(calls),
        "notices": sum(1 for line in lines(folder / NOTICES)[since.notice_lines :] if line["verified"]),
        "records": len(new),
    }


def restarts(folder: Path, since: Mark) -> int:
    """How often a process was really restarted."""
    return sum(1 for line in lines(folder / "processes.jsonl")[since.process_lines :] if line["event"] == "restarted")


def leaks(data: Path, folder: Path) -> list[str]:
    """Where a planted value stands in clear: ``kind in file``. The shop's own files are where they belong."""
    planted = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
    values = [(kind, value.encode()) for kind, known in planted.items() for value in known]
    searched = [
        folder / "model-requests.jsonl",
        folder / NOTICES,
        *(path for path in data.rglob("*") if folder not in path.parents),
    ]
    found: list[str] = []
    for path in (path for path in searched if path.is_file()):
        content = path.read_bytes()
        found += [f"{kind} in {path.relative_to(data)}" for kind, value in values if value in content]
    return sorted(set(found))


def writes(action: Mapping[str, Json]) -> bool:
    """A write to the world; the gate's own acts change only the gate, and a notification changes nothing."""
    return action.get("effect") == "write" and action.get("connector") not in {"gate", "notify", "llm"}


def _bundle(log: Path, number: int, entries: int) -> bytes:
    """The bytes of one entry bundle, whole or partial (C2SP tlog-tiles, "entry bundles")."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    path = log.joinpath("tile", "entries", *groups)
    if entries < BUNDLE_ENTRIES and not path.exists():
        path = path.with_name(f"{path.name}.p") / str(entries)
    return path.read_bytes()


def _entries(bundle: bytes) -> Sequence[bytes]:
    """The entries of a bundle, each behind its length as two bytes, the higher first."""
    found: list[bytes] = []
    at = 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if len(entry) != length:
            raise ValueError("an entry bundle ends in the middle of an entry")
        found.append(entry)
        at += 2 + length
    return found


def dumped(value: Mapping[str, Json]) -> str:
    """Plain JSON."""
    return json.dumps(value, indent=1)
