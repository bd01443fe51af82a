"""What must hold after many incidents at once, judged on rows, records and what came to the services."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from broker.incidents import TRANSITIONS
from tests.drill.responder import SERVICES, Seen
from tests.drill.verdict import Verdict

Json = Any
OVER = frozenset({"closed"})
CLEAR, RESTORE = "local.cache.clear", "local.cache.restore"


@dataclass(frozen=True, slots=True)
class Effect:
    """A remedy's time: from its intent until what it did was judged."""

    action: str
    incident: str
    target: str
    began: int
    ended: int

    @property
    def reach(self) -> frozenset[str]:
        """The target and everything that directly needs it."""
        return frozenset({self.target} | {name for name, needs in SERVICES.items() if self.target in needs})


def judge(seen: Seen) -> Verdict:
    """Each promise as a sentence where it was broken."""
    verdict = Verdict()
    intents = {one["id"]: one for one in seen.records if one["kind"] == "intent"}
    outcomes = {one["about"]: one for one in seen.records if one["kind"] in {"outcome", "recovery"}}
    effects = _effects(seen, intents)
    _ended(verdict, seen)
    _once(verdict, seen, intents, outcomes)
    _apart(verdict, effects)
    _recorded(verdict, seen)
    states = Counter(one.state for one in seen.incidents)
    calls = [one for one in intents.values() if one["body"]["action"]["name"] == "llm.messages.create"]
    verdict.must(len(calls) == seen.model_requests, f"{len(calls)} model calls on record, {seen.model_requests} made")
    verdict.counts = {
        "incidents": len(seen.incidents),
        **{f"incidents {state}": count for state, count in sorted(states.items())},
        "kills": seen.kills,
        "effects": len(effects),
        "undone": sum(verb == "cache/restore" for _, verb, _ in seen.arrived),
        "model calls": len(calls),
        "records": len(seen.records),
    }
    return verdict


def _effects(seen: Seen, intents: dict[str, dict[str, Json]]) -> list[Effect]:
    """Remedies that came to their target, with the incident whose session they were asked in."""
    sessions = {
        str(record["body"].get("session") or record.get("session", "")): record["body"]["incident"]
        for record in seen.records
        if record["kind"] == "incident"
    }
    named = {
        str(event.body["action_id"]): event.incident
        for events in seen.events.values()
        for event in events
        if event.to_state == "proposed" and "action_id" in event.body
    }
    found = []
    for action, verb, name in seen.arrived:
        if verb != "cache/clear" or action not in intents:
            continue
        incident = named.get(action) or sessions.get(str(intents[action].get("session", "")), "")
        began = int(intents[action]["time_ns"]) // 10**9
        left = [e.at for e in seen.events.get(incident, ()) if e.to_state in {"mitigated", "rolled_back", "escalated"}]
        found.append(Effect(action, incident, name, began, min([at for at in left if at >= began], default=2**60)))
    return found


def _ended(verdict: Verdict, seen: Seen) -> None:
    """None stranded: everything ended, is with people, or hangs on one that did."""
    known = {one.id: one for one in seen.incidents}
    for one in seen.incidents:
        root = one
        while root.state == "linked":
            root = known[root.merged_into]
        verdict.must(root.state in OVER, f"{one.id} of {one.service} is stranded in {root.state}")
        if one.state == "linked" and root.state == "closed":
            after = [other for other in seen.incidents if other.fingerprint == one.fingerprint and other is not one]
            verdict.must(bool(after), f"{one.id} still fires, and what it was linked to is closed")
    for row in seen.work:
        verdict.must(row.state == "aside", f"{row.kind} of {row.incident} is still due")
        stands = known.get(row.incident)
        verdict.must(stands is None or stands.state in OVER, f"{row.kind} of {row.incident} was set aside unseen")


def _once(
    verdict: Verdict, seen: Seen, intents: dict[str, dict[str, Json]], outcomes: dict[str, dict[str, Json]]
) -> None:
    """None acted on twice; every effect has its intent, every intent its end, and what it says is true."""
    arrived = Counter(action for action, _, _ in seen.arrived)
    for action, times in arrived.items():
        verdict.must(times == 1, f"{action} came to its target {times} times")
        verdict.must(action in intents, f"{action} took effect without an intent")
    for action, intent in intents.items():
        name = intent["body"]["action"]["name"]
        verdict.must(action in outcomes, f"{name} {action} has no end")
        if name in {CLEAR, RESTORE} and action in outcomes:
            done = outcomes[action]["body"]["outcome"]["status"] == "done"
            verdict.must(done == (action in arrived), f"{name} {action}: the log says done {done}")
    mine: dict[str, list[Effect]] = {}
    for one in sorted(_effects(seen, intents), key=lambda each: each.began):
        mine.setdefault(one.incident, []).append(one)
    for incident, acts in mine.items():
        verdict.must(bool(incident), "an effect belongs to no incident")
        back = [event.at for event in seen.events.get(incident, ()) if event.kind == "hand_back"]
        for before, after in pairwise(acts):
            between = any(before.ended <= at <= after.began for at in back)
            verdict.must(between, f"{incident} acted again, and nobody had asked it to")


def _apart(verdict: Verdict, effects: list[Effect]) -> None:
    """No two incidents at work within each other's reach at one time."""
    for number, one in enumerate(effects):
        for other in effects[number + 1 :]:
            if one.incident != other.incident and one.reach & other.reach:
                apart = one.ended <= other.began or other.ended <= one.began
                verdict.must(apart, f"{one.action} on {one.target} and {other.action} on {other.target} at once")


def _recorded(verdict: Verdict, seen: Seen) -> None:
    """Every event is in the log once, in its order, and follows the table."""
    logged = [one["id"] for one in seen.records if one["kind"] == "incident"]
    verdict.must(len(logged) == len(set(logged)), "an event is on record twice")
    for incident, events in seen.events.items():
        mine = [one for one in logged if one.rpartition(".")[0] == incident]
        verdict.must(mine == [event.id for event in events], f"events of {incident} are on record as {len(mine)}")
        moves = [(e.from_state, e.to_state) for e in events if e.from_state != e.to_state and e.from_state]
        verdict.must(set(moves) <= set(TRANSITIONS), f"{incident} left the table")
