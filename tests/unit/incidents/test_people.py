"""People act in an incident: each act is an event that the next step sees, and what they hold nobody else moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import BadRequest, Conflict, LimitExceeded
from broker.incidents import Incident, steps
from tests.shop import AGENT, EXECUTED, Shop

Run = Callable[[Any], Any]


async def act(shop: Shop, opened: Incident, kind: str, by: str = "dev:ann", **body: Any) -> Any:
    """One act of a person, its event on record."""
    event = await shop.incidents.note(shop.tenant, opened.id, kind=kind, by=by, body=body)
    await shop.record()
    return event


@pytest.mark.parametrize("kind", ["note", "rule_out", "outside_change", "override", "query", "verification"])
def test_what_somebody_says_is_an_event_and_moves_nothing(shop: Shop, run: Run, kind: str) -> None:
    async def main() -> None:
        opened = await shop.receive()
        claimed = await shop.claim()
        event = await act(shop, opened, kind, text="the pool was resized by hand", component="payments")
        assert (event.kind, event.actor, event.from_state, event.to_state) == (kind, "dev:ann", "triaging", "triaging")
        assert await shop.last(opened) == event.__class__(**{**fields(event), "recorded": True})
        assert (await shop.finish(claimed, "investigating")).state == "investigating"
        later = await shop.incidents.events(shop.tenant, opened.id, after=opened.version)
        assert [one.kind for one in later] == [kind, "investigating"]

    run(main())


def fields(event: Any) -> dict[str, Any]:
    """The fields of a dataclass with slots."""
    return {name: getattr(event, name) for name in event.__slots__}


def test_nothing_is_due_while_a_person_has_it_and_who_has_it_is_named(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        claimed = await shop.claim()
        await act(shop, opened, "take_over", text="mine")
        held = await shop.get(opened)
        assert (held.state, held.holder) == ("human_hold", "dev:ann")
        assert not await shop.work.is_due(shop.tenant, ["incident"])
        shop.clock.advance(7200)
        assert await shop.work.claim(shop.tenant, ["incident"], AGENT, 60) is None
        with pytest.raises(Conflict) as refused:
            await shop.finish(claimed, "investigating")
        assert refused.value.error_code == "work.stale"
        with pytest.raises(Conflict):
            await shop.work.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence)

    run(main())


@pytest.mark.parametrize(
    ("to", "state", "kind"),
    [
        ("", "investigating", "incident"),
        ("triaging", "triaging", "incident"),
        ("escalated", "escalated", "notify"),
        ("learning", "learning", "learn"),
    ],
)
def test_the_holder_hands_back_to_where_it_shall_go_on(shop: Shop, run: Run, to: str, state: str, kind: str) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await act(shop, opened, "take_over")
        await act(shop, opened, "hand_back", **({"to": to} if to else {}))
        back = await shop.get(opened)
        assert (back.state, back.holder) == (state, "")
        assert await shop.work.is_due(shop.tenant, [kind])

    run(main())


def test_only_the_holder_hands_back_but_anybody_may_take_over_openly(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await act(shop, opened, "take_over", by="dev:ann")
        with pytest.raises(Conflict) as refused:
            await act(shop, opened, "hand_back", by="dev:bob")
        assert refused.value.error_code == "incident.held"
        assert "dev:ann" in refused.value.detail
        taken = await act(shop, opened, "take_over", by="dev:bob")
        assert taken.body["from"] == "dev:ann"
        await act(shop, opened, "hand_back", by="dev:bob")
        assert (await shop.get(opened)).state == "investigating"

    run(main())


def test_of_people_who_take_over_at_once_the_last_one_is_named_and_each_has_an_event(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await asyncio.gather(*(act(shop, opened, "take_over", by=f"dev:p{number}") for number in range(6)))
        taken = [one for one in await shop.incidents.events(shop.tenant, opened.id) if one.kind == "take_over"]
        assert len(taken) == 6
        assert (await shop.get(opened)).holder == taken[-1].actor

    run(main())


def test_what_nobody_has_cannot_be_handed_back(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        with pytest.raises(Conflict) as refused:
            await act(shop, opened, "hand_back")
        assert refused.value.error_code == "incident.transition"
        await act(shop, opened, "take_over")
        with pytest.raises(BadRequest):
            await act(shop, opened, "hand_back", to="closed")

    run(main())


def test_a_person_sends_an_escalated_incident_on(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.step(await shop.receive(), "escalated")
        await act(shop, opened, "hand_back", to="learning", text="mended by hand")
        closed = await shop.incidents.learn(await shop.claim("learn"))
        assert closed.state == "closed"
        [trace] = await shop.incidents.similar(shop.tenant, fingerprint=opened.fingerprint, service="checkout")
        assert trace["outcome"] == "handled"

    run(main())


@pytest.mark.parametrize(
    "path", [EXECUTED[:2], EXECUTED[:3], ("investigating", "diagnosed", "proposed", "awaiting_approval")]
)
def test_a_correction_withdraws_the_diagnosis_and_names_the_action_that_hung_on_it(
    shop: Shop, run: Run, path: tuple[str, ...]
) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *path)
        event = await act(shop, opened, "correct", component="inventory", fault="disk-full", text="not payments")
        assert (event.kind, event.body["diagnosis"]) == ("correct", opened.diagnosis)
        assert event.body["action_id"] == opened.action_id
        now = await shop.get(opened)
        assert (now.state, now.diagnosis, now.action_id, now.holder) == ("investigating", "", "", "")
        assert await shop.work.is_due(shop.tenant, ["incident"])

    run(main())


def test_a_correction_makes_the_step_of_a_working_agent_stale(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating")
        claimed = await shop.claim()
        await act(shop, opened, "correct", component="inventory")
        with pytest.raises(Conflict) as refused:
            await shop.finish(claimed, "inconclusive")
        assert refused.value.error_code == "work.stale"
        assert (await shop.claim()).step > claimed.step

    run(main())


@pytest.mark.parametrize(
    "named", [{"component": "payments"}, {"fault": "bad-config"}, {"component": "payments", "fault": "bad-config"}]
)
def test_who_rules_out_what_was_diagnosed_withdraws_the_diagnosis(shop: Shop, run: Run, named: dict[str, str]) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *EXECUTED[:3], "awaiting_approval")
        event = await act(shop, opened, "rule_out", **named)
        assert (event.kind, event.body["diagnosis"]) == ("rule_out", opened.diagnosis)
        now = await shop.get(opened)
        assert (now.state, now.diagnosis, now.action_id) == ("investigating", "", "")

    run(main())


def test_who_rules_out_something_else_withdraws_nothing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *EXECUTED[:3], "awaiting_approval")
        for named in ({"component": "search"}, {"fault": "disk-full"}, {"component": "payments", "fault": "crash"}, {}):
            await act(shop, opened, "rule_out", **named)
        now = await shop.get(opened)
        assert (now.state, now.diagnosis) == ("awaiting_approval", opened.diagnosis)

    run(main())


def test_who_rules_something_out_makes_the_investigation_under_way_begin_afresh(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating")
        claimed = await shop.claim()
        await act(shop, opened, "rule_out", component="inventory")
        with pytest.raises(Conflict) as refused:
            await shop.finish(claimed, "diagnosed", diagnosis=await shop.diagnosed(opened, component="inventory"))
        assert refused.value.error_code == "work.stale"
        assert (await shop.claim()).step > claimed.step

    run(main())


def test_a_correction_after_the_action_began_changes_no_state(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *EXECUTED)
        await act(shop, opened, "correct", component="inventory")
        assert (await shop.get(opened)).state == "verifying"
        assert (await shop.claim("verify")).subject == opened.id

    run(main())


@pytest.mark.parametrize("kind", ["", "Note", "a b", "x" * 33, "note\n", "1st"])
def test_a_kind_is_one_plain_word(shop: Shop, run: Run, kind: str) -> None:
    async def main() -> None:
        opened = await shop.receive()
        with pytest.raises(BadRequest) as refused:
            await act(shop, opened, kind)
        assert refused.value.error_code == "incident.kind"

    run(main())


def test_notes_are_bounded_and_steps_are_not(shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        opened = await shop.receive()
        monkeypatch.setattr(steps, "EVENTS_MAX", 3)
        await act(shop, opened, "note", text="one")
        with pytest.raises(LimitExceeded) as refused:
            await act(shop, opened, "note", text="two")
        assert refused.value.error_code == "incident.events"
        # However much was said before, a person who takes part is heard.
        await act(shop, opened, "correct", component="payments")
        assert (await act(shop, opened, "take_over")).to_state == "human_hold"
        await act(shop, opened, "hand_back", to="triaging")
        assert (await shop.step(opened, "investigating")).state == "investigating"

    run(main())
