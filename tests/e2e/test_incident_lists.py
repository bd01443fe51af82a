"""Long incidents over HTTP: every answer is bounded and says what else there is; a flood keeps no severe alert out."""

import asyncio
from pathlib import Path
from typing import Any

from wicketgate import Gate, IncidentPage

from agents.case import detail_of, people
from tests.e2e.test_incidents import alert, claim, finish, opened, post, read, send
from tests.sim.policies import folder_of
from tests.sim.visitor import signed_in
from tests.sim.world import World, world

MANY = 230


async def crowded(it: World, incident: str) -> None:
    """Many notes of people, as they stand in the database after a long day."""
    for number in range(MANY):
        await it.gate.incidents.note(
            "default", incident, kind="note", by="dev:ann", body={"text": f"note {number} " + "x" * 1_500}
        )
    while await it.gate.incidents.unrecorded("default", incident):
        await it.gate.incident_acts.record("default", incident)


def sdk(it: World, who: dict[str, str]) -> Gate:
    """The client on this gate."""
    token = who["Authorization"].removeprefix("Bearer ")
    return Gate(it.settings.url, token, client=it.client)


def test_a_long_incident_is_told_in_parts_and_the_agent_still_hears_every_person(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            oncall, agent = await it.person("oncall"), await it.agent()
            said = {"kind": "rule_out", "component": "search", "text": "it answers"}
            assert (await post(it, oncall, f"/v1/incidents/{incident}/events", said)).status_code == 201
            await crowded(it, incident)
            held = await claim(it, agent)
            whole = await read(it, agent, incident, session=held["session"])
            part = whole["events_part"]
            assert len(whole["events"]) < MANY
            assert part["total"] == MANY + 3
            assert part["bytes"] <= 262_144
            assert part["before"] == str(whole["events"][0]["seq"])
            assert "rule_out" not in {event["kind"] for event in whole["events"]}
            it_is = await detail_of(sdk(it, agent), incident, held["session"])
            assert [one["kind"] for one in people(it_is.events)][:1] == ["rule_out"]
            assert len(people(it_is.events)) == MANY + 1

            async def all_of(part: str, name: str) -> list[Any]:
                found: list[Any] = []
                before = ""
                while True:
                    query = {"before": before} if before else {}
                    answer = await it.client.get(f"/v1/incidents/{incident}/{part}", params=query, headers=oncall)
                    assert answer.status_code == 200, answer.text
                    assert len(answer.content) < 700_000
                    found = [*answer.json()[name], *found]
                    before = answer.json()["before"]
                    if not before:
                        return found

            events = await all_of("events", "events")
            assert [event["seq"] for event in events] == list(range(1, MANY + 4))
            lines = await all_of("timeline", "entries")
            assert [line["ref"] for line in lines if line["what"] == "event"] == [event["id"] for event in events]
            bad = await it.client.get(f"/v1/incidents/{incident}/events", params={"before": "x"}, headers=oncall)
            assert (bad.status_code, bad.json()["code"]) == (400, "request.after")

    asyncio.run(main())


def test_the_console_says_how_much_it_shows_and_leads_to_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            await crowded(it, incident)
            oncall = await signed_in(it, "oncall")
            page = await oncall.open(f"/console/incidents/{incident}")
            assert f"of {MANY + 2} entries" in page.text
            assert "note 229 " in page.text
            assert "note 0 " not in page.text
            before = page.text.split(f"/console/incidents/{incident}?before=")[1].split("#")[0]
            earlier = await oncall.open(f"/console/incidents/{incident}?before={before}")
            assert "note 0 " in earlier.text
            assert "Later entries" in earlier.text
            await oncall.client.aclose()

    asyncio.run(main())


def test_lists_carry_no_texts_of_alerts(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await opened(it)
            oncall = await it.person("oncall")
            listed = await it.client.get("/v1/incidents", headers=oncall)
            assert "annotations" not in listed.text
            assert IncidentPage.model_validate(listed.json()).incidents[0].alert == {}

    asyncio.run(main())


def test_a_step_says_what_is_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await opened(it)
            agent = await it.agent()
            held = await claim(it, agent)
            answer = await finish(it, agent, held, "investigating", reason="x" * 40_000)
            assert (answer.status_code, answer.json()["code"]) == (400, "incident.step_body")
            assert (await finish(it, agent, held, "investigating", reason="short")).status_code == 200

    asyncio.run(main())


def test_a_flooded_call_lets_its_severe_alerts_in_and_is_to_be_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[incidents]\nopen_max = 3\nopen_severe = 1\nmerge_seconds = 0\n"
        async with world(tmp_path, extra=extra) as it:
            who = await it.agent("alerts-1")

            def of(number: int, severity: str) -> dict[str, Any]:
                labels = {"alertname": f"A{number}", "service": "checkout", "env": "prod", "severity": severity}
                return alert(labels=labels, fingerprint=f"{number:016x}", annotations={})

            answer = await send(it, who, *(of(number, "info") for number in range(4)), of(9, "critical"))
            assert (answer.status_code, answer.json()["code"]) == (429, "incident.flood")
            assert answer.headers["retry-after"]
            oncall = await it.person("oncall")
            listed = (await it.client.get("/v1/incidents", headers=oncall)).json()["incidents"]
            told = {one["title"]: one["state"] for one in listed}
            assert told["A9"] == "triaging"
            assert told["Alerts are refused: too many incidents are open"] == "escalated"
            assert len(listed) == 3
            logged = [one["body"]["event"]["kind"] for one in await it.records() if one["kind"] == "incident"]
            assert logged.count("escalated") == 1

    asyncio.run(main())


def test_who_looks_for_work_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[web]\npolls_per_minute_max = 60\npolls_burst_max = 3\n") as it:
            agent, other = await it.agent(), await it.agent("agent-2")
            body = {"kinds": ["incident"], "hold_seconds": 60}
            answers = [await post(it, agent, "/v1/work/claim", body) for _ in range(5)]
            assert [one.status_code for one in answers] == [204, 204, 204, 429, 429]
            assert answers[-1].json()["code"] == "work.polls"
            assert int(answers[-1].headers["retry-after"]) >= 1
            assert (await post(it, other, "/v1/work/claim", body)).status_code == 204
            it.clock.advance(2)
            assert (await post(it, agent, "/v1/work/claim", body)).status_code == 204

    asyncio.run(main())


def test_policys_own_limit_counts_who_looks_for_work_though_none_is_there(tmp_path: Path) -> None:
    polls = "actions: [gate.work.claim], except: [], max: {}, window_s: 60, burst: {}"
    few = {"config/limits/data.yaml": (polls.format(1200, 600), polls.format(6, 3))}

    async def main() -> None:
        async with world(tmp_path, policies=folder_of(tmp_path / "policies", few)) as it:
            agent, other, oncall = await it.agent(), await it.agent("agent-2"), await it.person("oncall")
            body = {"kinds": ["incident"], "hold_seconds": 60}
            answers = [await post(it, agent, "/v1/work/claim", body) for _ in range(4)]
            assert [one.status_code for one in answers] == [204, 204, 204, 429]
            told = answers[-1].json()
            assert (told["code"], answers[-1].headers["retry-after"]) == ("limit.exceeded", "10")
            assert (await post(it, other, "/v1/work/claim", body)).status_code == 204
            # Who may not claim work is not told whether there is any.
            assert (await post(it, oncall, "/v1/work/claim", body)).status_code == 403
            it.clock.advance(10)
            assert (await post(it, agent, "/v1/work/claim", body)).status_code == 204
            # Work that is found costs the same.
            await opened(it)
            assert (await post(it, agent, "/v1/work/claim", body)).status_code == 429
            it.clock.advance(10)
            assert (await post(it, agent, "/v1/work/claim", body)).status_code == 200
            claims = [
                one for one in await it.records() if one["body"].get("action", {}).get("name") == "gate.work.claim"
            ]
            assert [one["kind"] for one in claims] == ["refusal", "refusal", "refusal", "intent", "outcome"]

    asyncio.run(main())
