"""Long lists come in parts that are bounded in entries and bytes, say what else there is, and lose nothing between them."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import BadRequest
from broker.incidents import pages
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
        whole = await shop.incidents.timeline(shop.tenant, incident, actions=actions)
        assert (whole["before"], whole["after"]) == ("", "")
        assert whole["total"] == len(whole["entries"])
        back: list[Any] = []
        acts: list[Any] = []
        before = ""
        while True:
            told = await shop.incidents.timeline(shop.tenant, incident, actions=actions, before=before, limit=limit)
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
            told = await shop.incidents.timeline(shop.tenant, incident, actions=actions, after=after, limit=limit)
            forth += told["entries"]
            after = told["after"]
        assert forth == whole["entries"]

    run(main())


def test_a_post_mortem_says_what_it_leaves_out(shop: Shop, run: Run, monkeypatch: Any) -> None:
    async def main() -> None:
        incident = await noted(shop, 12)
        monkeypatch.setattr("broker.incidents.telling.LINES_MAX", 8)
        monkeypatch.setattr("broker.incidents.telling.FIRST_LINES", 2)
        told = await shop.incidents.postmortem(shop.tenant, incident)
        assert told["left_out"] == {"ruled_out": 0, "actions": 0, "people": 4, "timeline": 6}
        assert [line["kind"] for line in told["timeline"][:2]] == ["received", "triaging"]
        assert told["timeline"][-1]["text"] == "text: said 11"
        assert "left out here: 4 of people, 6 of timeline" in told["markdown"]

    run(main())


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
