"""A post-mortem, gathered from pages: it holds the beginning and the end of each list, however long the incident was.

What comes in (events, diagnoses, actions) is counted whole and looked at one by one; what the page shows is bounded in
lines and in bytes, and so is what is held meanwhile. What does not stand there is said with its number.
"""

from bisect import insort
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from broker.incidents.telling import (
    diagnosis_of,
    durations_of,
    line_of,
    line_of_action,
    line_of_diagnosis,
    line_of_event,
    markdown,
)
from broker.incidents.traces import outcome_of
from broker.model import Json
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event, Incident
from broker.store.rows import pack

LINES_MAX = 500
FIRST_LINES = 100
LIST_BYTES_MAX = 262_144
"""Of one list; where it is longer its beginning (a quarter) and its end stand there, and how much does not."""
Key = tuple[int, int, str]
"""Where a line stands: its time, what it is (events first, then diagnoses, then actions), and its number or id."""


class Recorded(Protocol):
    """The actions of an incident as the log has them."""

    def outlines(self) -> AsyncIterator[Mapping[str, Json]]:
        """Each once, in any order, as its leaf tells it: ``{"action_id","observation","action","resource","effect","status","at"}``."""
        ...

    async def whole(self, outline: Mapping[str, Json]) -> Mapping[str, Json]:
        """``outline`` with what its payload adds: ``arguments``, ``by``, and the resource that was asked for."""
        ...


@dataclass(slots=True)
class Ends:
    """The first and the last of what is added, in whatever order it comes; ``seen`` counts all of it."""

    seen: int = 0
    _held: list[tuple[Key, int, Mapping[str, Json]]] = field(default_factory=list)
    _bytes: int = 0

    def add(self, key: Key, one: Mapping[str, Json]) -> None:
        """Take one in; what stands between the ends goes. Keys differ."""
        size = len(pack(dict(one)))
        self.seen += 1
        self._bytes += size
        insort(self._held, (key, size, one), key=lambda held: held[0])
        while len(self._held) > 2 and (len(self._held) > LINES_MAX or self._bytes > LIST_BYTES_MAX):
            self._bytes -= self._held.pop(self._between())[1]

    def _between(self) -> int:
        """The first place after the beginning."""
        bytes_ = 0
        for number, (_, size, _) in enumerate(self._held[:FIRST_LINES]):
            bytes_ += size
            if bytes_ > LIST_BYTES_MAX // 4:
                return min(max(1, number), len(self._held) - 2)
        return min(FIRST_LINES, len(self._held) - 2)

    def held(self) -> list[tuple[Key, Mapping[str, Json]]]:
        """What is held, in order."""
        return [(key, one) for key, _, one in self._held]


class Story:
    """Takes an incident in, part by part, and tells it."""

    def __init__(self, stands: Incident) -> None:
        """Nothing is known yet but how the incident stands."""
        self._stands = stands
        self._moves: list[Event] = []
        self._reads = 0
        self._latest: DiagnosisRow | None = None
        self._ruled_out, self._actions, self._people, self._timeline = Ends(), Ends(), Ends(), Ends()

    def events(self, page: Iterable[Event]) -> None:
        """The next events, in order."""
        for event in page:
            key = (event.at, 0, f"{event.seq:09}")
            self._timeline.add(key, line_of_event(event))
            if event.by_people:
                self._people.add(key, line_of(event))
            if event.from_state != event.to_state or not self._moves:
                self._moves.append(replace(event, body={}))

    def diagnoses(self, page: Iterable[DiagnosisRow]) -> None:
        """Some diagnoses, the newest page first; the one that the incident stands on is told, else the newest."""
        for row in sorted(page, key=lambda one: (one.at, one.id), reverse=True):
            self._timeline.add((row.at, 1, row.id), line_of_diagnosis(row))
            if self._latest is None or row.id == self._stands.diagnosis:
                self._latest = row
            for number, rival in enumerate(row.ruled_out):
                self._ruled_out.add((row.at, number, row.id), rival)

    def action(self, outline: Mapping[str, Json]) -> None:
        """One action."""
        key = (int(outline.get("at") or 0), 2, str(outline["action_id"]))
        self._timeline.add(key, outline)
        if outline.get("effect") == "write":
            self._actions.add(key, outline)
        else:
            self._reads += 1

    async def told(self, impact: Mapping[str, Json], recorded: Recorded | None) -> dict[str, Json]:
        """The story: facts as JSON, and the same as ``markdown``; ``left_out`` says how many of each list do not stand there."""
        actions, timeline = Ends(), Ends()
        for key, outline in self._actions.held():
            actions.add(key, await recorded.whole(outline) if recorded else outline)
        for key, one in self._timeline.held():
            line = line_of_action(await recorded.whole(one)) if recorded and "action_id" in one else one
            timeline.add(key, line)
        seen = {
            "ruled_out": self._ruled_out,
            "actions": self._actions,
            "people": self._people,
            "timeline": self._timeline,
        }
        kept = {**seen, "actions": actions, "timeline": timeline}
        lists = {name: [dict(one) for _, one in ends.held()] for name, ends in kept.items()}
        stands = self._stands
        facts: dict[str, Json] = {
            "incident": {**asdict(stands), "alert": dict(stands.alert)},
            "outcome": outcome_of(self._moves) if not stands.live else "open",
            "durations": durations_of(stands, self._moves),
            "impact": dict(impact),
            "diagnosis": diagnosis_of(self._latest),
            "reads": self._reads,
            **lists,
            "left_out": {name: seen[name].seen - len(lists[name]) for name in lists},
        }
        return {**facts, "markdown": markdown(facts)}
