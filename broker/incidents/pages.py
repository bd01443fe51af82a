"""Long lists of an incident in parts: each is bounded in entries and in bytes, says how much there is, and where the rest is.

A part is the newest unless it is asked for ``before`` or ``after`` a place; places are the text that an earlier part gave.
Nothing is left out unseen: an empty ``before`` (``after``) says that nothing stands there.
"""

from bisect import insort
from collections.abc import Mapping, Sequence

from broker.errors import BadRequest
from broker.incidents.telling import line_of_action, line_of_diagnosis, line_of_event, markdown_timeline
from broker.model import Json
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event
from broker.store.rows import Place, Span, pack, within

ENTRIES_MAX = 200
BYTES_MAX = 262_144
"""Of one part, as it is stored; a single entry that is larger stands alone."""
LAST = 2**53
Entry = tuple[Place, dict[str, Json], Mapping[str, Json] | None]
"""Where it stands, its line, and the action that it tells of."""


def span(before: str, after: str, limit: int, parts: int) -> Span:
    """Read the places of a request, each of ``parts`` words; raises ``BadRequest`` for anything else."""
    if before and after:
        raise BadRequest(
            "fields `before` and `after` exclude each other", code="request.after", remedy="name one of the two"
        )
    most = min(max(1, limit), ENTRIES_MAX)
    return Span(most, BYTES_MAX, _place("before", before, parts), _place("after", after, parts))


def named(place: Place) -> str:
    """A place as text; empty for none."""
    return ".".join(map(str, place))


class Nearest:
    """The actions that a part of the timeline can need, of however many there are: the nearest to where it begins.

    ``count`` counts all, ``first`` and ``last`` are the places of the ends.
    """

    def __init__(self, wanted: Span) -> None:
        """Nothing is there yet."""
        self._wanted = wanted
        self._held: list[tuple[Place, Mapping[str, Json]]] = []
        self.count = 0
        self.first: Place = ()
        self.last: Place = ()

    def add(self, outline: Mapping[str, Json]) -> None:
        """One more, in any order."""
        place: Place = (int(outline.get("at") or 0), 2, str(outline["action_id"]))
        self.count += 1
        self.first = min(self.first or place, place)
        self.last = max(self.last, place)
        if (self._wanted.before and place >= self._wanted.before) or (
            self._wanted.after and place <= self._wanted.after
        ):
            return
        insort(self._held, (place, outline), key=lambda one: one[0])
        if len(self._held) > self._wanted.limit:
            self._held.pop(-1 if self._wanted.after else 0)

    def held(self) -> list[Mapping[str, Json]]:
        """Those of the part, in order."""
        return [outline for _, outline in self._held]


def events_span(wanted: Span) -> Span:
    """The part of the events that a part of the timeline can need: places ``(at, seq)``."""

    def of(place: Place) -> Place:
        # At one second events stand first, so from any other entry all of that second's events are before.
        return (place[0], int(place[2]) if place[1] == 0 else LAST) if place else ()

    return Span(wanted.limit, wanted.bytes, of(wanted.before), of(wanted.after))


def timeline_part(  # noqa: PLR0913, PLR0917 - one argument a list
    wanted: Span,
    events: Sequence[Event],
    ends: tuple[Place, Place] | None,
    diagnoses: Sequence[DiagnosisRow],
    actions: Sequence[Mapping[str, Json]],
    nearest: Nearest,
) -> dict[str, Json]:
    """One part of everything that happened, in order of time: ``{"entries","actions","markdown","before","after","bytes"}``.

    ``events`` are those of ``events_span``, and ``ends`` the first and the last place of all; ``actions`` those that
    ``nearest`` holds, whole; in the answer they are those that its entries tell of.
    """
    of_events: list[Entry] = [((event.at, 0, f"{event.seq:09}"), line_of_event(event), None) for event in events]
    others: list[Entry] = [((row.at, 1, row.id), line_of_diagnosis(row), None) for row in diagnoses]
    others += [((int(one.get("at") or 0), 2, str(one["action_id"])), line_of_action(one), one) for one in actions]
    low, high = ((at, 0, f"{seq:09}") for at, seq in ends) if ends else ((), ())
    first, last = (of_events[0][0], of_events[-1][0]) if of_events else ((), ())
    every = sorted([*of_events, *others], key=lambda entry: entry[0])
    near = [
        entry
        for entry in every
        if (not wanted.before or entry[0] < wanted.before) and (not wanted.after or entry[0] > wanted.after)
    ]
    # Where more events stand beyond those that were read, nothing beyond the last of them can be told yet.
    if wanted.after:
        near = [one for one in near if not last or last == high or one[0] <= last]
    else:
        near = [one for one in reversed(near) if not first or first == low or one[0] >= first]
    sizes: list[tuple[Place, int]] = [(one[0], len(pack(one[1])) + len(pack(dict(one[2] or {})))) for one in near]
    fit = within(sizes[: wanted.limit], wanted.bytes)
    told = sorted(near[: len(fit)], key=lambda entry: entry[0])
    ends_of_all = (low, high, nearest.first, nearest.last)
    places = [*(one[0] for one in (*others, *of_events)), *(place for place in ends_of_all if place)]
    lines = [line for _, line, _ in told]
    return {
        "entries": lines,
        "actions": [dict(action) for *_, action in told if action is not None],
        "markdown": markdown_timeline(lines),
        "before": named(told[0][0]) if told and min(places) < told[0][0] else "",
        "after": named(told[-1][0]) if told and max(places) > told[-1][0] else "",
        "bytes": sum(size for _, size in fit),
    }


def _place(field: str, text: str, parts: int) -> Place:
    """A place of ``parts`` words, all but the last of three being numbers."""
    if not text:
        return ()
    words = text.split(".", parts - 1)
    numbers = words if parts < 2 else words[:-1]
    whole = all(word.isascii() and word.isdigit() and len(word) <= 15 for word in numbers)
    last = words[-1]
    plain = last.isascii() and last.replace("_", "").isalnum() and len(last) <= 64
    if len(words) != parts or not whole or not plain:
        raise _nowhere(field)
    if parts == 3 and words[1] == "0" and not last.isdigit():
        raise _nowhere(field)
    return (*map(int, numbers), *([last] if parts > 1 else ()))


def _nowhere(field: str) -> BadRequest:
    return BadRequest(
        f"field `{field}` is not a place in this list",
        code="request.after",
        remedy=f"leave `{field}` out, or give what an earlier answer named",
    )
