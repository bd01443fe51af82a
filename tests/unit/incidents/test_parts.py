"""Long lists come in parts that are bounded in entries and bytes, say what else there is, and lose nothing between them."""

import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from broker.errors import BadRequest
from broker.incidents import pages, story
from broker.store import incidents as rows
from broker.store.rows import pack
from tests.shop import Shop

Run = Callable[[Any], Any]
TEXT = "x" * 3_000


async def noted(shop: Shop, count: int, text: str = "said") -> str:
    """An incident with so many notes; its id."""
    opened = await shop.receive()
    for number in range(count):
        shop.clock.advance(1)
        await shop.incidents.note(shop.tenant, opened.id, kind="note", by="dev:ann", body={"text": f"{text} {number}"})
    return opened.id


def test_reading_backward_and_forward_part_by_part_gives_every_event_once(shop: Shop, run: Run) -> None:
    async def main() -> None:
        incident = await noted(shop, 23)
        every = [event.seq for event in await shop.incidents.events(shop.tenant, incident)]
        back: list[int] = []
        before = ""
        while True:
            part = await shop.incidents.events_part(shop.tenant, incident, pages.span(before, "", 4, 1))
            assert 1 <= len(part.items) <= 4
            back = [*[event.seq for event in part.items], *back]
            before = pages.named(part.before)
            if not before:
                break
        assert back == every
        forth: list[int] = []
        after = "0"
        while after:
            part = await shop.incidents.events_part(shop.tenant, incident, pages.span("", after, 4, 1))
            forth += [event.seq for event in part.items]
            after = pages.named(part.after)
        assert forth == every

    run(main())


def test_a_part_is_bounded_in_bytes_and_a_larger_entry_stands_alone(shop: Shop, run: Run, monkeypatch: Any) -> None:
    async def main() -> None:
        incident = await noted(shop, 6, TEXT)
        monkeypatch.setattr(pages, "BYTES_MAX", 7_000)
        part = await shop.incidents.events_part(shop.tenant, incident, pages.span("", "", 200, 1))
        assert len(part.items) == 2
        assert 6_000 < part.bytes <= 7_000
        assert part.before == (part.items[0].seq,)
        monkeypatch.setattr(pages, "BYTES_MAX", 100)
        alone = await shop.incidents.events_part(shop.tenant, incident, pages.span("", "", 200, 1))
        assert [event.seq for event in alone.items] == [part.items[-1].seq]

    run(main())


def test_what_people_did_is_found_however_much_was_counted_after_it(shop: Shop, run: Run) -> None:
    async def main() -> None:
        incident = await noted(shop, 2)
        for _ in range(8):
            shop.clock.advance(61)
            await shop.receive()
        newest = await shop.incidents.events_part(shop.tenant, incident, pages.span("", "", 5, 1))
        assert {event.kind for event in newest.items} == {"duplicate"}
        acts = await shop.incidents.events_part(
            shop.tenant, incident, pages.span(pages.named(newest.before), "", 200, 1), only="acts"
        )
        kinds = [event.kind for event in acts.items]
        assert kinds == ["triaging", "note", "note"]

    run(main())


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
def test_the_timeline_in_parts_is_the_timeline(shop: Shop, run: Run, limit: int) -> None:
    async def main() -> None:
        incident = await noted(shop, 9)
        now = shop.clock.now_ns() // 10**9
        await shop.diagnosed(await shop.incidents.get(shop.tenant, incident))
        actions = [_action(number, now - number // 2) for number in range(8)]
        whole = await shop.incidents.timeline(shop.tenant, incident, recorded=Known(actions))
        assert (whole["before"], whole["after"]) == ("", "")
        assert whole["total"] == len(whole["entries"])
        back: list[Any] = []
        acts: list[Any] = []
        before = ""
        while True:
            told = await shop.incidents.timeline(
                shop.tenant, incident, recorded=Known(actions), before=before, limit=limit
            )
            assert len(told["entries"]) <= limit
            assert told["after"] == ("" if not before else told["after"])
            back, acts = [*told["entries"], *back], [*told["actions"], *acts]
            before = told["before"]
            if not before:
                break
        assert back == whole["entries"]
        assert acts == whole["actions"]
        forth: list[Any] = []
        after = "0.0.0"
        while after:
            told = await shop.incidents.timeline(
                shop.tenant, incident, recorded=Known(actions), after=after, limit=limit
            )
            forth += told["entries"]
            after = told["after"]
        assert forth == whole["entries"]

    run(main())


def test_a_post_mortem_says_what_it_leaves_out(shop: Shop, run: Run, monkeypatch: Any) -> None:
    async def main() -> None:
        incident = await noted(shop, 12)
        monkeypatch.setattr("broker.incidents.story.LINES_MAX", 8)
        monkeypatch.setattr("broker.incidents.story.FIRST_LINES", 2)
        told = await shop.incidents.postmortem(shop.tenant, incident)
        assert told["left_out"] == {"ruled_out": 0, "actions": 0, "people": 4, "timeline": 6}
        assert [line["kind"] for line in told["timeline"][:2]] == ["received", "triaging"]
        assert told["timeline"][-1]["text"] == "text: said 11"
        assert "left out here: 4 of people, 6 of timeline" in told["markdown"]

    run(main())


class Known:
    """Actions on record, as they were put there."""

    def __init__(self, actions: Sequence[Mapping[str, Any]]) -> None:
        self._actions = actions

    async def outlines(self) -> AsyncIterator[Mapping[str, Any]]:
        for one in self._actions:
            yield one

    async def whole(self, outline: Mapping[str, Any]) -> Mapping[str, Any]:
        return outline


class Outline(dict[str, Any]):
    """An outline that can be watched."""

    __slots__ = ("__weakref__",)
    __hash__ = object.__hash__  # type: ignore[assignment]


class Long:
    """Very many actions on record; ``most`` is how many of them were held at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._alive: weakref.WeakSet[Outline] = weakref.WeakSet()
        self.most = self.completed = 0

    async def outlines(self) -> AsyncIterator[Outline]:
        for number in range(self._count):
            made = Outline(_action(number, 1_767_225_600 + number))
            made["effect"] = "write" if number % 2 else "read"
            self._alive.add(made)
            yield made
            del made
            self.most = max(self.most, len(self._alive))

    async def whole(self, outline: Mapping[str, Any]) -> Mapping[str, Any]:
        self.completed += 1
        return {**outline, "arguments": {"note": "x" * 10_000}, "by": "dev:agent-1"}


def test_a_post_mortem_of_however_long_an_incident_holds_no_more_than_it_shows(
    shop: Shop, run: Run, monkeypatch: Any
) -> None:
    async def main() -> None:
        incident = await noted(shop, 30)
        monkeypatch.setattr("broker.incidents.desk.EVENTS_READ", 7)
        pages_read: list[int] = []
        read = rows.events

        def counted(*asked: Any, **more: Any) -> list[Any]:
            found = read(*asked, **more)
            pages_read.append(len(found))
            return found

        monkeypatch.setattr(rows, "events", counted)
        actions = Long(3_000)
        told = await shop.incidents.postmortem(shop.tenant, incident, recorded=actions)
        assert max(pages_read) == 7
        assert sum(pages_read) == told["left_out"]["timeline"] + len(told["timeline"]) - 3_000
        assert actions.most <= 2 * story.LINES_MAX + 2
        assert actions.completed <= 2 * story.LINES_MAX
        assert told["reads"] == 1_500
        # What stands there is bounded in bytes once it is whole, and what does not is said.
        assert told["left_out"]["actions"] == 1_500 - len(told["actions"])
        assert sum(len(pack(one)) for one in told["actions"]) <= story.LIST_BYTES_MAX
        numbers = [one["action_id"] for one in told["actions"]]
        assert (numbers[0], numbers[-1]) == ("act_01", "act_2999")
        assert f"{told['left_out']['actions']} of actions" in told["markdown"]

    run(main())


def test_a_part_of_the_timeline_holds_and_reads_its_own_actions_alone_however_many_there_are(
    shop: Shop, run: Run
) -> None:
    async def main() -> None:
        incident = await noted(shop, 3)
        actions = Long(3_000)
        told = await shop.incidents.timeline(shop.tenant, incident, recorded=actions, limit=20)
        assert actions.most <= 20 + 2
        assert actions.completed <= 20
        assert told["total"] > 3_000
        assert told["actions"][-1]["action_id"] == "act_2999"
        assert (bool(told["before"]), told["after"]) == (True, "")
        again = Long(3_000)
        earlier = await shop.incidents.timeline(shop.tenant, incident, recorded=again, before=told["before"], limit=20)
        assert again.completed <= 20
        assert earlier["actions"][-1]["at"] < told["actions"][0]["at"]
        assert earlier["after"]

    run(main())


def test_the_ends_of_a_list_do_not_depend_on_the_order_it_comes_in(monkeypatch: Any) -> None:
    monkeypatch.setattr(story, "LINES_MAX", 8)
    monkeypatch.setattr(story, "FIRST_LINES", 2)
    for numbers in (
        range(20),
        reversed(range(20)),
        [7, 0, 19, 3, 12, 1, 18, 2, *range(4, 7), *range(8, 12), *range(13, 18)],
    ):
        ends = story.Ends()
        for number in numbers:
            ends.add((number, 0, ""), {"n": number})
        assert [one["n"] for _, one in ends.held()] == [0, 1, *range(14, 20)]
        assert ends.seen == 20


def test_one_line_of_any_size_leaves_the_beginning_and_the_end(monkeypatch: Any) -> None:
    monkeypatch.setattr(story, "LIST_BYTES_MAX", 1_000)
    ends = story.Ends()
    for number in range(50):
        ends.add((number, 0, ""), {"n": number, "text": "x" * (5_000 if number == 20 else 10)})
    shown = [one["n"] for _, one in ends.held()]
    assert (shown[0], shown[-1], 20 in shown) == (0, 49, False)
    assert sum(len(pack(dict(one))) for _, one in ends.held()) <= 1_000


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("1", "2", 1),
        ("x", "", 1),
        ("1.2", "", 3),
        ("1.a.b", "", 3),
        ("1.0.x", "", 3),
        ("", "1.1.a'b", 3),
        ("9" * 16, "", 1),
    ],
)
def test_a_place_that_no_answer_named_is_refused(before: str, after: str, parts: int) -> None:
    with pytest.raises(BadRequest) as refused:
        pages.span(before, after, 10, parts)
    assert refused.value.error_code == "request.after"


def _action(number: int, at: int) -> dict[str, Any]:
    return {
        "action_id": f"act_{number:02}",
        "observation": f"obs_{number:02}",
        "action": "local.logs.search",
        "resource": {"type": "process", "id": "checkout", "env": "prod"},
        "arguments": {},
        "effect": "read",
        "status": "done",
        "at": at,
        "by": "dev:agent-1",
    }
