"""Remedies in a whole gate: asked for on evidence, followed, measured, undone where they did not help, and escalated."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import Unauthenticated
from broker.model import Party, PartyKind, Principal
from broker.reading import Ask
from broker.store import writes
from tests.sim.supervisor import _start
from tests.sim.troubled import Counters, Troubled
from tests.sim.visitor import signed_in
from tests.sim.world import world

QUICK = "[incidents]\nverify_settle_seconds = 5\nverify_window_seconds = 60\nverify_interval_seconds = 20\n"
Scene = Callable[[Troubled], Awaitable[None]]


def play(folder: Path, scene: Scene, severity: str = "critical") -> None:
    """One incident of checkout, which does not run and has a cache that may be the reason."""

    async def main() -> None:
        async with world(folder, extra=QUICK) as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            trouble = Troubled(it, Counters())
            await trouble.open(severity=severity)
            await scene(trouble)

    asyncio.run(main())


async def mended(it: Troubled) -> None:
    """What was wrong is right from now on."""
    it.counters.set("checkout", it.now, 0.0)
    it.it.supervisor.children["checkout"].running = await _start()


async def proposed(it: Troubled, **more: Any) -> dict[str, Any]:
    """The agent asks to clear the cache, and hands over to the gate."""
    answer = await it.ask("local.cache.clear", **more)
    assert answer.status_code in {200, 202}, answer.text
    body: dict[str, Any] = answer.json()
    await it.finish("proposed", action_id=body["action_id"])
    await it.turn()
    return body


async def last(it: Troubled, state: str) -> dict[str, Any]:
    """The event with which the incident came to ``state``."""
    return dict([event.body for event in await it.events() if event.to_state == state][-1])


async def answered(it: Troubled, body: dict[str, Any]) -> None:
    """Until the background has used the approval, or could not."""
    while (await it.it.gate.approvals.get("default", body["approval"]["id"])).state == "approved":
        await it.it.outcome(it.agent, body["action_id"])


async def outcome(it: Troubled, action_id: str) -> str:
    """What the write's row says of it."""
    found = await it.it.gate.store.read(lambda c: writes.find(c, "default", action_id))
    assert found is not None
    return found.outcome


def test_a_safe_remedy_that_helps_runs_by_itself_and_ends_the_incident(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        body = await proposed(it)
        assert (body["status"], body["decision"]["tier"]) == ("done", 1)
        assert it.it.supervisor.caches == {}
        assert await it.state() == "verifying"
        await mended(it)
        await it.pass_time(60, step=20)
        assert await it.state() == "verifying", "the window is not over"
        note = {"kind": "note", "text": "it looks better"}
        said = await it.post(f"/v1/incidents/{it.incident}/events", note, await it.it.person("oncall"))
        assert said.status_code == 201, "what people say does not move the window"
        await it.pass_time(60, step=20)
        assert await it.state() == "closed"
        assert (await last(it, "mitigated"))["verdict"] == "improved"
        assert await outcome(it, body["action_id"]) == "improved"
        # Each look of the gate's own is an action with its own records.
        looks = [one for one in await it.it.records() if one["kind"] == "intent"]
        assert sum(one["body"]["action"]["name"] == "local.metrics.range" for one in looks) >= 12

    play(tmp_path, scene)


def test_a_remedy_that_does_nothing_is_undone_once_and_people_are_called(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        body = await proposed(it)
        await it.pass_time(120, step=20)
        assert await it.state() == "escalated"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}, "what was moved aside is back"
        undoing = await last(it, "rolling_back")
        assert undoing["verdict"] == "unchanged"
        assert undoing["wrong_diagnosis"] == it.diagnosis
        assert (await last(it, "escalated"))["reason"] == "remedy.undone"
        assert await outcome(it, body["action_id"]) == "unchanged"
        rows = await it.it.gate.work.page("default", states=("due", "done", "aside"))
        [notify] = [row for row in rows if row.kind == "notify"]
        assert notify.incident == it.incident
        await it.pass_time(120, step=60)
        acts = [one["body"]["action"]["name"] for one in await it.it.records() if one["kind"] == "intent"]
        assert acts.count("local.cache.restore") == 1

    play(tmp_path, scene)


def test_a_dependent_that_gets_worse_undoes_the_remedy_before_the_window_is_over(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        await proposed(it)
        await mended(it)
        it.counters.set("storefront", it.now, 0.4)
        await it.pass_time(60, step=20)
        assert await it.state() == "escalated"
        undoing = await last(it, "rolling_back")
        assert undoing["verdict"] == "worse"
        assert max(len(level["after"]) for level in undoing["levels"]) < 3, "it did not wait for the end"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_an_unsure_diagnosis_waits_for_a_person_and_the_plan_shows_its_undoing(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        body = await proposed(it)
        assert (body["status"], body["decision"]["tier"]) == ("waiting", 2)
        assert await it.state() == "awaiting_approval"
        oncall = await it.it.person("oncall")
        shown = (await it.it.client.get(body["approval"]["url"], headers=oncall)).json()
        assert shown["plan"]["rollback"]["action"] == "local.cache.restore"
        assert len(shown["rollback_digest"]) == 64
        page = await (await signed_in(it.it, "oncall")).open(f"/console/inbox/{body['approval']['id']}")
        assert "Depends directly on it, by the inventory: storefront" in page.text
        [record] = [one for one in await it.it.records() if one["kind"] == "proposal"]
        assert record["body"]["plan"]["rollback_digest"] == shown["rollback_digest"]
        assert (await it.it.review(oncall, body["approval"])).status_code == 200
        assert (await it.it.outcome(it.agent, body["action_id"])).json()["status"] == "done"
        await mended(it)
        await it.pass_time(120, step=20)
        assert await it.state() == "closed"
        # Measured again right before it ran, not only when it was diagnosed.
        assert [event.kind for event in await it.events()].count("baseline") == 2

    play(tmp_path, scene)


def test_an_approval_that_comes_after_the_world_changed_does_nothing(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        body = await proposed(it)
        it.it.supervisor.caches["checkout"] = b"another one by now"
        assert (await it.it.review(await it.it.person("oncall"), body["approval"])).status_code == 200
        await answered(it, body)
        await it.pass_time(10, step=5)
        assert await it.state() == "escalated"
        said = await last(it, "escalated")
        assert (said["reason"], said["code"]) == ("approval.cancelled", "approval.plan_drifted")
        assert it.it.supervisor.caches == {"checkout": b"another one by now"}

    play(tmp_path, scene)


@pytest.mark.parametrize("end", ["denied", "expired"])
def test_what_nobody_approves_is_escalated(tmp_path: Path, end: str) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        body = await proposed(it)
        if end == "denied":
            assert (await it.it.review(await it.it.person("oncall"), body["approval"], "deny")).status_code == 200
        else:
            it.it.clock.advance(901)
        await it.turn()
        await it.pass_time(10, step=5)
        assert await it.state() == "escalated"
        assert (await last(it, "escalated"))["reason"] == f"approval.{end}"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_a_remedy_that_a_person_took_over_from_does_not_run(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        body = await proposed(it)
        oncall = await it.it.person("oncall")
        taken = await it.post(f"/v1/incidents/{it.incident}/events", {"kind": "take_over", "text": "mine"}, oncall)
        assert taken.json()["state"] == "human_hold"
        assert (await it.it.review(oncall, body["approval"])).status_code == 200
        await answered(it, body)
        await it.pass_time(10, step=5)
        assert await it.state() == "human_hold"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}
        refusals = [one["body"]["error"] for one in await it.it.records() if one["kind"] == "refusal"]
        assert "incident.wrong_state" in refusals

    play(tmp_path, scene)


def test_a_remedy_whose_answer_is_lost_is_judged_by_what_is_measured(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        it.it.supervisor.cutting.add("checkout")
        answer = await it.ask("local.cache.clear", key={"Idempotency-Key": "lost"})
        assert answer.status_code == 502
        it.it.supervisor.cutting.clear()
        # The worker that asks again gets what is on record, and nothing is done twice.
        again = await it.ask("local.cache.clear", key={"Idempotency-Key": "lost"})
        assert again.status_code == 502
        intents = [one for one in await it.it.records() if one["kind"] == "intent"]
        [action] = [one["id"] for one in intents if one["body"]["action"]["name"] == "local.cache.clear"]
        await it.finish("proposed", action_id=action)
        await it.turn()
        assert await it.state() == "verifying"
        await mended(it)
        await it.pass_time(120, step=20)
        assert await it.state() == "closed"

    play(tmp_path, scene)


def test_a_remedy_that_the_target_refused_is_escalated_and_counts_for_nothing(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        it.it.supervisor.refusing.add("checkout")
        body = await proposed(it)
        await it.turn()
        assert await it.state() == "escalated"
        assert (await last(it, "escalated"))["reason"] == "action.failed"
        assert await outcome(it, body["action_id"]) == "failed"

    play(tmp_path, scene)


def test_the_gate_goes_on_measuring_after_a_restart_and_reads_no_sample_twice(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        await proposed(it)
        await mended(it)
        await it.pass_time(40, step=20)
        before = [one["id"] for one in await it.it.records() if one["kind"] == "intent"]
        await it.it.stop()
        await it.it.start()
        await it.turn()
        await it.turn()
        after = [one["id"] for one in await it.it.records() if one["kind"] == "intent"]
        assert after == before, "what was measured stays measured"
        await it.pass_time(60, step=20)
        assert await it.state() == "closed"

    play(tmp_path, scene)


def test_no_diagnosis_no_work_or_a_lost_one_no_action(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        nothing = await it.ask("local.cache.clear", diagnosis="")
        assert nothing.status_code == 403
        assert "evidence.no_diagnosis" in {one["code"] for one in nothing.json()["reasons"]}
        made_up = await it.ask("local.cache.clear", diagnosis="dgn_madeup")
        assert "evidence.unknown_diagnosis" in {one["code"] for one in made_up.json()["reasons"]}
        workless = await it.ask("local.cache.clear", work=None)
        assert (workless.status_code, workless.json()["code"]) == (403, "work.required")
        stale = await it.ask("local.cache.clear", work={"id": it.held["work"], "fence": it.held["fence"] - 1})
        assert (stale.status_code, stale.json()["code"]) == (409, "work.stale")
        other = await it.ask("local.cache.clear", id_="payments")
        assert "evidence.other_resource" in {one["code"] for one in other.json()["reasons"]}
        unlisted = await it.ask("local.process.restart")
        assert "remedy.other_fault" in {one["code"] for one in unlisted.json()["reasons"]}
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_an_investigation_does_not_reach_another_environment(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        session = await it.investigate()
        there = await it.it.act(it.agent, "local.process.status", session, env="staging")
        assert (there.status_code, there.json()["code"]) == (403, "incident.other_environment")

    play(tmp_path, scene)


def test_a_refuted_claim_leaves_nothing_to_act_on(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        session = await it.investigate()
        claims = await it.claims("checkout", session, sure=True)
        claims[2]["value"] = "running"
        body = {"cause": {"component": "checkout", "fault": "crash-loop"}, "claims": claims, "session": session}
        found = (await it.post(f"/v1/incidents/{it.incident}/diagnoses", body)).json()
        assert found["verdict"] == "inconclusive"
        it.diagnosis = found["diagnosis"]
        asked = await it.ask("local.cache.clear")
        assert asked.status_code == 403
        assert {"incident.wrong_state", "evidence.unknown_diagnosis"} <= {
            one["code"] for one in asked.json()["reasons"]
        }
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_the_next_remedy_on_a_target_waits_for_its_rest(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        first = (await it.ask("local.cache.clear")).json()["action_id"]
        await it.it.gate.store.write(lambda c: writes.close(c, "default", first, "improved"))
        again = await it.ask("local.cache.clear")
        assert (again.status_code, again.json()["code"]) == (409, "remedy.cooldown")
        assert again.headers["Retry-After"] == "300"
        it.it.clock.advance(299)
        it.agent = await it.it.agent()
        assert (await it.ask("local.cache.clear")).json()["code"] == "remedy.cooldown"

    play(tmp_path, scene)


def test_of_two_incidents_that_meet_the_other_waits_for_the_one_that_has_begun(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        # The alert that opens the second comes so late that it is no part of the first.
        it.it.clock.advance(3700)
        other = Troubled(it.it, it.counters)
        await other.open(service="storefront", severity="critical")
        await it.turn()
        assert other.incident != it.incident
        other.it.supervisor.caches["storefront"] = b"rotten too"
        child = it.it.supervisor.children["storefront"]
        child.running.kill()
        await child.running.wait()
        await other.diagnose("storefront", sure=False)
        it.agent = other.agent
        # Less severe: it waits for the other one.
        waits = await it.ask_afresh()
        assert (waits.status_code, waits.json()["code"]) == (409, "incident.conflict")
        assert waits.headers["Retry-After"] == "20"
        assert it.it.supervisor.caches["checkout"] == b"rotten"
        desk, by = it.it.gate.incidents, "dev:oncall"
        await desk.note("default", other.incident, kind="take_over", by=by)
        held = await it.ask("local.cache.clear")
        assert held.json()["code"] == "incident.conflict", "a person works there"
        await desk.note("default", other.incident, kind="hand_back", by=by, body={"to": "escalated"})
        begun = await it.ask("local.cache.clear")
        assert begun.status_code == 200, begun.text
        # It has begun: now even the more severe one waits, before the gate has taken the action up.
        await desk.note("default", other.incident, kind="hand_back", by=by, body={"to": "investigating"})
        await it.turn()
        other.held = (await other.post("/v1/work/claim", {"kinds": ["incident"], "hold_seconds": 600})).json()
        await other.finish("diagnosed", diagnosis=other.diagnosis)
        await other.claim()
        second = await other.ask("local.cache.clear", id_="storefront")
        assert (second.status_code, second.json()["code"]) == (409, "incident.conflict")
        assert it.it.supervisor.caches == {"storefront": b"rotten too"}

    play(tmp_path, scene, severity="warning")


def test_an_undoing_from_which_redaction_took_a_secret_is_not_offered(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(fault="bad-config")
        there = await it.it.act(it.agent, "local.config.read", it.held["session"], type_="config")
        blob = there.json()["result"]["value"]["blob"]
        said = {"content": '{"pool": 9}', "expected_blob": blob}
        answer = await it.ask("local.config.write", said, type_="config")
        assert answer.status_code == 202, answer.text
        oncall = await it.it.person("oncall")
        shown = (await it.it.client.get(answer.json()["approval"]["url"], headers=oncall)).json()
        assert (shown["plan"]["rollback"], shown["rollback_digest"]) == (None, "")

    play(tmp_path, scene)


def test_what_cannot_be_measured_is_unknown_and_while_all_stands_still_nothing_is_undone(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        await proposed(it)
        security = await it.it.person("security")
        stop = {"scope": "tenant", "target": "", "reason": "stand still"}
        assert (await it.post("/v1/kill", stop, security)).status_code in {200, 201}
        await it.pass_time(120, step=20)
        assert await it.state() == "escalated"
        assert (await last(it, "rolling_back"))["verdict"] == "unknown"
        said = await last(it, "escalated")
        assert (said["reason"], said["code"]) == ("rollback.refused", "kill.stopped")
        assert it.it.supervisor.caches == {}

    play(tmp_path, scene)


def test_only_the_gate_itself_comes_its_own_way(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        party = Party("gate:verifier", PartyKind.WORKLOAD, frozenset({"gate"}))
        forged = Principal(tenant="default", subject=party, issuer="https://elsewhere.example", expires_at=2**40)
        ask = Ask("local.process.status", {"type": "process", "id": "checkout", "env": "prod"}, {})
        with pytest.raises(Unauthenticated):
            await it.it.gate.pipeline.own(forged, ask)

    play(tmp_path, scene)
