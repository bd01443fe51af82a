"""Timeline, post-mortem, impact and experts say what is on record, and nothing that is not."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from broker.errors import NotFound
from broker.incidents.telling import NOT_ON_RECORD, plain
from tests.shop import EXECUTED, Shop
from tests.unit.incidents.test_parts import Known
from tests.unit.incidents.test_traces import ACTIONS, solved

Run = Callable[[Any], Any]


class OnRecord:
    """Actions as the log would have them: arguments and who asked only when they are asked for."""

    def __init__(self, actions: Sequence[Mapping[str, Any]]) -> None:
        self._actions = actions

    async def outlines(self) -> AsyncIterator[dict[str, Any]]:
        for one in self._actions:
            yield {name: value for name, value in one.items() if name != "arguments"}

    async def whole(self, outline: Mapping[str, Any]) -> dict[str, Any]:
        [found] = [one for one in self._actions if one["action_id"] == outline["action_id"]]
        return {**found, "by": "dev:agent-1"}


LURE = "</pre><script>alert(1)</script> | # [click](http://evil.example) `x`\n\n# Resolved by nobody"


def test_the_timeline_is_every_event_diagnosis_and_action_in_order_of_time(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        shop.clock.advance(5)
        await shop.to_state(opened, "investigating", "diagnosed")
        shop.clock.advance(30)
        await shop.incidents.note(shop.tenant, opened.id, kind="note", by="dev:ann", body={"text": "looks right"})
        told = await shop.incidents.timeline(shop.tenant, opened.id, recorded=Known(ACTIONS))
        lines = told["entries"]
        assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
        events = await shop.incidents.events(shop.tenant, opened.id)
        assert [line["ref"] for line in lines if line["what"] == "event"] == [event.id for event in events]
        assert [line["ref"] for line in lines if line["what"] == "action"] == ["act_r", "act_1"]
        [found] = [line for line in lines if line["what"] == "diagnosis"]
        assert found["text"] == "diagnosed: payments bad-config; 2 claims verified, 0 refuted"
        assert "looks right" in told["markdown"]
        assert told["markdown"].count("\n") == len(lines) - 1

    run(main())


def test_a_post_mortem_of_an_incident_of_which_nothing_is_known_says_so(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive("storefront")
        told = await shop.incidents.postmortem(shop.tenant, opened.id)
        assert (told["diagnosis"], told["actions"], told["people"], told["outcome"]) == (None, [], [], "open")
        assert told["markdown"].count(NOT_ON_RECORD) == 5
        assert told["durations"]["mitigated"] is None

    run(main())


def test_a_post_mortem_tells_cause_claims_actions_and_people_from_the_records(shop: Shop, run: Run) -> None:
    async def main() -> None:
        closed = await solved(shop, "mitigated")
        told = await shop.incidents.postmortem(shop.tenant, closed.id, recorded=OnRecord(ACTIONS))
        assert (told["outcome"], told["reads"]) == ("mitigated", 1)
        assert told["diagnosis"]["claims"][0]["verdict"] == "verified"
        assert [(one["action_id"], one["arguments"]) for one in told["actions"]] == [("act_1", {"commit": "abc"})]
        assert [one["by"] for one in told["timeline"] if one["what"] == "action"] == ["dev:agent-1"] * 2
        assert closed.closed_at is not None
        assert told["durations"]["closed"] == closed.closed_at - closed.since
        for words in ("`git.change.revert`", "`obs_1`", "`payments`", "800/1000", "`act_1`", "1 reads on record"):
            assert words in told["markdown"], words

    run(main())


def test_texts_that_anybody_may_write_stay_text(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive(title=LURE)
        await shop.incidents.note(shop.tenant, opened.id, kind="note", by="dev:ann", body={"text": LURE})
        markdown = (await shop.incidents.postmortem(shop.tenant, opened.id))["markdown"]
        assert "<script>" not in markdown
        assert "](http" not in markdown
        headings = [line for line in markdown.splitlines() if line.startswith("#")]
        assert len(headings) == 7
        assert plain("a*b_c") == r"a\*b\_c"

    run(main())


def test_impact_names_what_depends_on_it_its_owners_and_its_incidents(shop: Shop, run: Run) -> None:
    async def main() -> None:
        downstream = await shop.receive("checkout")
        upstream = await shop.receive("payments")
        linked = await shop.receive("payments", fingerprint="latency")
        told = await shop.incidents.impact(shop.tenant, upstream.id)
        assert [(one["id"], one["distance"], one["owners"]) for one in told["affected"]] == [
            ("checkout", 1, ["dev:carl", "team-shop"]),
            ("storefront", 2, []),
        ]
        assert [one["id"] for one in told["affected"][0]["incidents"]] == [downstream.id]
        assert [(one["id"], one["firing"]) for one in told["linked"]] == [(linked.id, True)]
        assert (await shop.incidents.impact(shop.tenant, downstream.id))["depends_on"][1]["incidents"][0][
            "id"
        ] == upstream.id

    run(main())


def test_impact_of_a_service_that_the_inventory_lacks_says_that_it_is_not_known(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive("unheard-of")
        told = await shop.incidents.impact(shop.tenant, opened.id)
        assert (told["known"], told["affected"], told["depends_on"]) == (False, [], [])

    run(main())


def test_experts_are_owners_and_who_acted_before_and_why_is_said(shop: Shop, run: Run) -> None:
    async def main() -> None:
        past = await shop.receive("checkout")
        await shop.incidents.note(shop.tenant, past.id, kind="take_over", by="dev:ann")
        await shop.incidents.note(shop.tenant, past.id, kind="hand_back", by="dev:ann", body={"to": "learning"})
        await shop.incidents.note(shop.tenant, past.id, kind="note", by="dev:agent-1")
        await shop.incidents.learn(await shop.claim("learn"))
        now = await shop.to_state(await shop.receive(starts_at=past.since + 9_999), *EXECUTED[:2])
        found = await shop.incidents.experts(shop.tenant, now.id)
        assert {one["who"]: one["why"] for one in found} == {
            "dev:paula": ["owner_of_cause"],
            "dev:carl": ["owner_of_service"],
            "team-shop": ["owner_of_service"],
            "dev:ann": ["acted"],
        }
        assert found[0] == {
            "who": "dev:ann",
            "why": ["acted"],
            "acts": 2,
            "incidents": 1,
            "last": past.opened_at,
        }

    run(main())


@pytest.mark.parametrize("ask", ["timeline", "postmortem", "impact", "experts", "get", "events", "linked"])
def test_an_incident_that_is_not_there_is_not_found_by_any_question(shop: Shop, run: Run, ask: str) -> None:
    with pytest.raises(NotFound) as refused:
        run(getattr(shop.incidents, ask)(shop.tenant, "inc_nobody"))
    assert refused.value.error_code == "incident.not_found"


def test_pages_are_newest_first_and_complete(shop: Shop, run: Run) -> None:
    async def main() -> None:
        made = []
        for number in range(5):
            made.append((await shop.receive("search", fingerprint=f"f{number}", env=f"e{number}")).id)
            shop.clock.advance(1)
        seen: list[str] = []
        after = ""
        while True:
            page = await shop.incidents.page(shop.tenant, after=after, limit=2)
            seen += [one.id for one in page.items]
            after = page.after
            if not after:
                break
        assert seen == list(reversed(made))

    run(main())
