"""What must hold after the last kill, judged on the log's own bytes and on what the outside saw."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.postgres import PostgresStore
from audit.sqlite import SqliteStore
from tests.drill.campaign import Outside
from tests.sim.running_gate import wicketgate

LOG = "wicketgate.local/log/default"


@dataclass
class Verdict:
    """Counts, and every violation as a sentence."""

    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def must(self, holds: bool, sentence: str) -> None:
        """Note ``sentence`` unless it holds."""
        if not holds:
            self.violations.append(sentence)


def records(data: Path, url: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(seq, leaf, record) of every record in the database."""
    store = PostgresStore(url) if url else SqliteStore(data / "audit.db")
    session = store.connect()
    try:
        after = -1
        while page := session.entries(LOG, after, 500):
            for one in page:
                yield one.seq, one.leaf.hex(), json.loads(one.body)
            after = page[-1].seq
    finally:
        session.close()


def judge(seen: Outside, data: Path, url: str, *, told: bool = False) -> Verdict:
    """``url`` is libpq's; empty for SQLite. ``told``: the gate was told to end each time, and closed what it had begun."""
    verdict = Verdict()
    leaves: dict[int, str] = {}
    intents: dict[str, dict[str, Any]] = {}
    closed: dict[str, tuple[str, str]] = {}
    for seq, leaf, record in records(data, url):
        leaves[seq] = leaf
        if record["kind"] == "intent":
            intents[record["id"]] = record
        elif record["kind"] in {"outcome", "recovery"}:
            closed[record["about"]] = (record["kind"], record["body"]["outcome"]["status"])
    _receipts(verdict, seen, leaves)
    _effects(verdict, seen, intents)
    _ends(verdict, seen, intents, closed, bool(url) and not told)
    _verified(verdict, data)
    writes = [record for record in intents.values() if record["body"]["action"]["name"].startswith("tickets.")]
    recovered = [status for kind, status in closed.values() if kind == "recovery"]
    verdict.counts = {
        "records": len(leaves),
        "acknowledged": len(seen.acknowledged),
        "intents": len(writes),
        "effects": len(seen.effects),
        **{f"recovered {status}": recovered.count(status) for status in ("done", "not_done", "unknown")},
        "open": len(intents.keys() - closed.keys()),
    }
    return verdict


def _receipts(verdict: Verdict, seen: Outside, leaves: dict[int, str]) -> None:
    """No acknowledged record is lost or changed."""
    for one in seen.acknowledged:
        verdict.must(
            leaves.get(one.seq) == one.leaf, f"acknowledged record {one.seq} of {one.action} is not in the log"
        )
    verdict.must(sorted(leaves) == list(range(len(leaves))), "the sequence numbers have gaps")


def _effects(verdict: Verdict, seen: Outside, intents: dict[str, dict[str, Any]]) -> None:
    """No effect without an earlier intent, none twice; one key, one action."""
    for action, times in seen.effects.items():
        verdict.must(len(times) == 1, f"{action} took effect {len(times)} times")
        intent = intents.get(action)
        verdict.must(intent is not None, f"{action} took effect without an intent")
        verdict.must(intent is None or int(intent["time_ns"]) <= times[0], f"{action} took effect before its intent")
    for key, actions in seen.keys.items():
        verdict.must(len(actions) == 1, f"key {key} led to {sorted(actions)}")


def _ends(
    verdict: Verdict,
    seen: Outside,
    intents: dict[str, dict[str, Any]],
    closed: dict[str, tuple[str, str]],
    others: bool,
) -> None:
    """What is said of an action is true."""
    for one in seen.acknowledged:
        verdict.must(one.action in closed, f"{one.action} was answered without an outcome")
        if one.status == "done":
            verdict.must(one.action in seen.effects, f"{one.action} was answered as done and never took effect")
    for action, (kind, status) in closed.items():
        if not intents[action]["body"]["action"]["name"].startswith("tickets."):
            continue
        happened = action in seen.effects
        verdict.must(status != "done" or happened, f"{kind} of {action} says done; it never took effect")
        verdict.must(
            status not in {"not_done", "failed"} or not happened, f"{kind} of {action} says {status}; it took effect"
        )
    if not others:
        # On a shared database an intent may be another replica's and alive; it is closed later.
        verdict.must(
            intents.keys() <= closed.keys(), f"intents without an end: {sorted(intents.keys() - closed.keys())[:5]}"
        )


def _verified(verdict: Verdict, data: Path) -> None:
    """The published log verifies with the command that an auditor uses."""
    command = [wicketgate(), "audit", "verify", str(data / "log"), "--vkey", str(data / "log.vkey"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    verdict.must(done.returncode == 0, f"the log does not verify: {done.stdout[-500:]} {done.stderr[-500:]}")
