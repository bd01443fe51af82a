"""Incidents through the API: alerts come in, an agent works, people take part, and the log has all of it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.case import people
from broker.errors import StoreUnavailable
from broker.work import GATE_KINDS
from tests.sim.world import World, world

Headers = Mapping[str, str]


def alert(**more: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "ErrorRate", "service": "checkout", "env": "prod", "severity": "critical"},
        "annotations": {"summary": "checkout fails; call alice.miller@example.org"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "c3b4a5d6e7f80910",
        **more,
    }


async def send(it: World, who: Headers, *alerts: dict[str, Any], **more: Any) -> httpx.Response:
    body = {
        "version": "4",
        "receiver": "gate",
        "status": "firing",
        "alerts": list(alerts),
        "truncatedAlerts": 0,
        **more,
    }
    return await it.client.post("/v1/webhooks/alertmanager", json=body, headers=who)


async def post(it: World, who: Headers, path: str, body: dict[str, Any]) -> httpx.Response:
    return await it.client.post(path, json=body, headers={**who, **it.key()})


async def claim(it: World, who: Headers) -> dict[str, Any]:
    answer = await post(it, who, "/v1/work/claim", {"kinds": ["incident"], "hold_seconds": 60})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def finish(it: World, who: Headers, held: Mapping[str, Any], to: str, **body: Any) -> httpx.Response:
    said = {"fence": held["fence"], "step": held["step"], "to": to, "body": body, "session": held["session"]}
    return await post(it, who, f"/v1/work/{held['work']}/finish", said)


async def opened(it: World) -> str:
    answer = await send(it, await it.agent("alerts-1"), alert())
    assert answer.status_code == 200, answer.text
    [incident] = answer.json()["incidents"]
    return str(incident)


async def read(it: World, who: Headers, incident: str, part: str = "", session: str = "") -> dict[str, Any]:
    query = {"session": session} if session else {}
    answer = await it.client.get(f"/v1/incidents/{incident}{part}", params=query, headers=who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_alert_becomes_an_incident_once_and_every_event_of_it_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            assert await opened(it) == incident
            oncall = await it.person("oncall")
            whole = await read(it, oncall, incident)
            assert (whole["incident"]["state"], whole["incident"]["alerts"]) == ("triaging", 2)
            assert whole["events"][0]["kind"] == "received"
            assert ["checkout", "payments"] in whole["topology"]["edges"]
            logged = [one for one in await it.records() if one["kind"] == "incident"]
            assert [one["id"] for one in logged] == [event["id"] for event in whole["events"]]
            assert all(one["body"]["incident"] == incident for one in logged)
            # What an alert says may hold personal data; none of it stands in clear anywhere.
            assert "alice.miller" not in str(whole)
            assert b"alice.miller" not in it.everything_stored()

    asyncio.run(main())


def test_a_group_is_taken_in_alert_by_alert_with_its_ends_and_what_was_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            sender, oncall = await it.agent("alerts-1"), await it.person("oncall")
            other = {"alertname": "Slow", "service": "inventory", "env": "prod", "severity": "warning"}
            lone = alert(labels=other, fingerprint="00aa")
            [ended] = (await send(it, sender, lone)).json()["incidents"]
            over = {**lone, "status": "resolved", "endsAt": "2026-01-01T00:05:00Z"}
            answer = await send(it, sender, alert(), over, truncatedAlerts=3)
            assert answer.status_code == 200, answer.text
            [fired] = set(answer.json()["incidents"]) - {ended}
            told = {one: await read(it, oncall, one) for one in (fired, ended)}
            assert {one: whole["incident"]["state"] for one, whole in told.items()} == {
                fired: "triaging",
                ended: "noise",
            }
            [cut] = [event["body"] for event in told[fired]["events"] if event["kind"] == "truncated"]
            assert cut["alerts"] == 3

    asyncio.run(main())


def test_an_event_whose_mark_was_lost_is_one_record_and_only_then_the_next_step_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident, agent = await opened(it), await it.agent()
            marked = it.gate.incidents.recorded

            async def lost(*_: str) -> None:
                raise StoreUnavailable("the process dies here")

            monkeypatch.setattr(it.gate.incidents, "recorded", lost)
            event = await it.gate.incidents.note("default", incident, kind="note", by="dev:ann", body={"text": "look"})
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await it.gate.incident_acts.record()
                assert [one["id"] for one in await it.records()].count(event.id) == 1
                assert (await post(it, agent, "/v1/work/claim", {"kinds": ["incident"]})).status_code == 204
            monkeypatch.setattr(it.gate.incidents, "recorded", marked)
            await it.gate.incident_acts.record()
            assert [one["id"] for one in await it.records()].count(event.id) == 1
            assert (await claim(it, agent))["subject"] == incident

    asyncio.run(main())


def test_only_who_may_report_reports(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, auditor = await it.agent(), await it.person("auditor")
            assert (await send(it, {}, alert())).status_code == 401
            assert (await send(it, agent, alert())).json()["code"] == "allowlist.action_not_granted"
            assert (await send(it, auditor, alert())).json()["code"] == "allowlist.action_not_granted"
            body = {"title": "slow", "service": "checkout", "env": "prod"}
            assert (await post(it, await it.person("oncall"), "/v1/incidents", body)).status_code == 201

    asyncio.run(main())


def test_a_form_that_is_not_alertmanagers_is_refused_by_field(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            answer = await send(it, await it.agent("alerts-1"), alert(fingerprint="../x"))
            assert (answer.status_code, answer.json()["code"]) == (400, "alert.form")

    asyncio.run(main())


def test_an_agent_claims_works_and_finishes_and_a_stale_fence_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            nothing = await post(it, agent, "/v1/work/claim", {"kinds": ["incident"]})
            assert nothing.status_code == 204
            before = len(await it.records())
            assert (await post(it, agent, "/v1/work/claim", {"kinds": ["incident"]})).status_code == 204
            assert len(await it.records()) == before, "a poll that finds nothing leaves no record"
            incident = await opened(it)
            held = await claim(it, agent)
            assert held["subject"] == incident
            seen = await read(it, agent, incident, session=held["session"])
            assert seen["incident"]["state"] == "triaging"
            renewed = await post(
                it, agent, f"/v1/work/{held['work']}/renew", {"fence": held["fence"], "session": held["session"]}
            )
            assert renewed.json()["until"] >= held["until"]
            # The hold runs out; somebody else claims it.
            it.clock.advance(120)
            agent = await it.agent()
            again = await claim(it, agent)
            assert again["fence"] > held["fence"]
            late = await finish(it, agent, held, "investigating")
            assert (late.status_code, late.json()["code"]) == (409, "work.stale")
            assert (await finish(it, agent, again, "investigating")).json()["state"] == "investigating"
            twice = await finish(it, agent, again, "noise")
            assert (twice.status_code, twice.json()["code"]) == (409, "work.stale")

    asyncio.run(main())


def test_an_agent_takes_only_its_own_steps_and_sees_only_its_own_incident(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            agent = await it.agent()
            held = await claim(it, agent)
            for kind in GATE_KINDS:
                gates = await post(it, agent, "/v1/work/claim", {"kinds": [kind], "hold_seconds": 60})
                assert gates.status_code == 400, kind
            for to in ("verifying", "mitigated", "closed", "diagnosed", "proposed"):
                refused = await finish(it, agent, held, to)
                assert refused.status_code in {403, 409}, (to, refused.text)
            own = await it.session(agent)
            foreign = await it.client.get(f"/v1/incidents/{incident}", params={"session": own}, headers=agent)
            assert (foreign.status_code, foreign.json()["code"]) == (404, "incident.not_found")
            page = await it.client.get("/v1/incidents", params={"session": own}, headers=agent)
            assert page.status_code == 404
            stranger = await it.person("stranger")
            assert (await it.client.get(f"/v1/incidents/{incident}", headers=stranger)).status_code == 404

    asyncio.run(main())


def test_claims_are_recomputed_and_what_the_agent_asserts_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            agent = await it.agent()
            held = await claim(it, agent)
            await finish(it, agent, held, "investigating")
            held = await claim(it, agent)
            seen = await it.act(agent, "local.process.status", held["session"])
            observation = seen.json()["observation"]
            running = {"observation": observation, "selector": "$.state", "op": "eq", "value": "running"}
            said = {
                "cause": {"component": "checkout", "fault": "crash-loop"},
                "claims": [running, {**running, "value": "stopped", "text": "it stopped"}],
                "session": held["session"],
            }
            answer = await post(it, agent, f"/v1/incidents/{incident}/diagnoses", said)
            assert answer.status_code == 201, answer.text
            found = answer.json()
            assert [claim["verdict"] for claim in found["claims"]] == ["verified", "refuted"]
            assert found["verdict"] == "inconclusive"
            for assertion in ({"verified": True}, {"verdict": "verified"}, {"confidence": 1000}):
                claims = [{**running, "value": "stopped", **assertion}]
                lied = await post(it, agent, f"/v1/incidents/{incident}/diagnoses", {**said, "claims": claims})
                assert (lied.status_code, lied.json()["code"]) == (400, "request.field")
            wrong = await finish(it, agent, held, "diagnosed", diagnosis=found["diagnosis"])
            assert (wrong.status_code, wrong.json()["code"]) == (409, "incident.diagnosis")

    asyncio.run(main())


def test_people_take_part_and_the_agents_step_waits_for_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            agent, oncall = await it.agent(), await it.person("oncall")
            held = await claim(it, agent)
            path = f"/v1/incidents/{incident}/events"
            refused = await post(it, agent, path, {"kind": "take_over", "session": held["session"]})
            assert refused.status_code == 403
            noted = await post(it, agent, path, {"kind": "note", "text": "I look at it", "session": held["session"]})
            assert noted.status_code == 201
            taken = await post(it, oncall, path, {"kind": "take_over", "text": "mine"})
            assert taken.json()["state"] == "human_hold"
            stale = await finish(it, agent, held, "investigating")
            assert stale.json()["code"] == "work.stale"
            assert (await post(it, agent, "/v1/work/claim", {"kinds": ["incident"]})).status_code == 204
            for kind, more in (("rule_out", {"component": "payments"}), ("outside_change", {"text": "I drained it"})):
                assert (await post(it, oncall, path, {"kind": kind, **more})).status_code == 201
            back = await post(it, oncall, path, {"kind": "hand_back"})
            assert back.json()["state"] == "investigating"
            held = await claim(it, agent)
            seen = await read(it, agent, incident, session=held["session"])
            kinds = [event["kind"] for event in seen["events"]]
            assert {"note", "take_over", "rule_out", "outside_change", "hand_back"} <= set(kinds)
            assert [one["kind"] for one in people(seen["events"])] == kinds[kinds.index("take_over") :]
            for part in ("timeline", "postmortem", "impact", "experts"):
                assert await read(it, oncall, incident, f"/{part}")

    asyncio.run(main())


def test_people_see_what_the_agent_saw(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await opened(it)
            agent, oncall = await it.agent(), await it.person("oncall")
            held = await claim(it, agent)
            seen = (await it.act(agent, "local.process.status", held["session"])).json()["observation"]
            answer = await it.client.get(f"/v1/observations/{seen}", headers=oncall)
            assert answer.status_code == 200, answer.text
            private = (await it.act(agent, "local.process.status", await it.session(agent))).json()["observation"]
            assert (await it.client.get(f"/v1/observations/{private}", headers=oncall)).status_code == 404
            assert (
                await it.client.get(f"/v1/observations/{seen}", headers=await it.person("stranger"))
            ).status_code == 404

    asyncio.run(main())


def test_an_investigation_is_bound_to_its_tenant_and_environment_whatever_it_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await opened(it)
            stranger = await it.person("stranger")
            body = {"title": "theirs", "service": "checkout", "env": "prod"}
            theirs = (await post(it, stranger, "/v1/incidents", body)).json()["incident"]
            agent = await it.agent()
            held = await claim(it, agent)
            for action, arguments in (
                ("local.process.status", {}),
                ("local.logs.search", {"window_seconds": 60}),
                ("local.cache.clear", {}),
                ("local.process.restart", {}),
            ):
                there = await it.act(agent, action, held["session"], arguments, env="staging")
                assert there.status_code == 403, (action, there.text)
                assert "incident.other_environment" in {one["code"] for one in there.json()["reasons"]}
            # The other tenant's incident is nobody's here: not to be read, judged, spoken in or claimed.
            for path in ("", "/timeline", "/postmortem", "/impact", "/experts"):
                query = {"session": held["session"]}
                answer = await it.client.get(f"/v1/incidents/{theirs}{path}", params=query, headers=agent)
                assert (answer.status_code, answer.json()["code"]) == (404, "incident.not_found")
            said = {"cause": {"component": "checkout", "fault": "x"}, "claims": [], "session": held["session"]}
            judged = await post(it, agent, f"/v1/incidents/{theirs}/diagnoses", said)
            noted = await post(
                it, agent, f"/v1/incidents/{theirs}/events", {"kind": "note", "text": "x", "session": held["session"]}
            )
            assert {judged.status_code, noted.status_code} == {404}
            assert (await post(it, agent, "/v1/work/claim", {"kinds": ["incident"]})).status_code == 204
            assert it.supervisor.actions == {}

    asyncio.run(main())
