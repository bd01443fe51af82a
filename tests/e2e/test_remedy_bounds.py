"""What may stop a remedy that was asked for, and what bounds it to one: people's words until the last look, one action an incident."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.e2e.test_remedies import answered, play, proposed
from tests.sim.troubled import Troubled


async def says(it: Troubled, kind: str, **more: Any) -> str:
    """A person's word in the incident; its state then."""
    body = {"kind": kind, "text": "I know it", **more}
    answer = await it.post(f"/v1/incidents/{it.incident}/events", body, await it.it.person("oncall"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["state"])


@pytest.mark.parametrize("answered_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "named"), [("correct", {"component": "payments"}), ("rule_out", {"fault": "crash-loop"})]
)
def test_what_waits_on_a_diagnosis_that_a_person_withdrew_does_not_run(
    tmp_path: Path, kind: str, named: dict[str, str], answered_first: bool
) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        withdrawn = it.diagnosis
        body = await proposed(it)
        oncall = await it.it.person("oncall")
        if answered_first:
            # The yes is there, and the request is on its way, when the diagnosis is withdrawn.
            stopped: list[str] = []

            async def meanwhile() -> None:
                stopped.append(await says(it, kind, **named))

            it.it.supervisor.meanwhile = meanwhile
            assert (await it.it.review(oncall, body["approval"])).status_code == 200
            await answered(it, body)
            assert stopped == ["investigating"]
        else:
            assert await says(it, kind, **named) == "investigating"
            late = await it.it.review(oncall, body["approval"])
            assert (late.status_code, late.json()["code"]) == (409, "approval.closed")
        await it.pass_time(10, step=5)
        assert it.it.supervisor.caches == {"checkout": b"rotten"}
        assert it.it.supervisor.actions == {}
        assert (await it.it.gate.approvals.get("default", body["approval"]["id"])).state == "cancelled"
        # The work goes on, and the same cause, as well proven as before, is none any more; nor is the old diagnosis.
        session = (await it.claim())["session"]
        claims = await it.claims("checkout", session, sure=True)
        said = {"cause": {"component": "checkout", "fault": "crash-loop"}, "claims": claims, "session": session}
        found = (await it.post(f"/v1/incidents/{it.incident}/diagnoses", said)).json()
        assert (found["verdict"], [one["code"] for one in found["missing"]]) == ("inconclusive", ["evidence.excluded"])
        it.diagnosis = withdrawn
        again = await it.ask("local.cache.clear")
        assert again.status_code == 403
        assert {"incident.wrong_state", "evidence.inconclusive"} <= {one["code"] for one in again.json()["reasons"]}

    play(tmp_path, scene)


@pytest.mark.parametrize("kind", ["correct", "take_over"])
def test_a_person_is_heard_until_the_last_look_before_an_automatic_remedy(tmp_path: Path, kind: str) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()

        async def meanwhile() -> None:
            await says(it, kind, component="payments")

        it.it.supervisor.meanwhile = meanwhile
        answer = await it.ask("local.cache.clear")
        assert (answer.status_code, answer.json()["code"]) == (403, "incident.wrong_state")
        assert it.it.supervisor.caches == {"checkout": b"rotten"}
        assert it.it.supervisor.meanwhile is None
        # What it had taken hold of is free.
        held = text("select count(*) from lease where holder like 'act_%'")
        assert await it.it.gate.store.read(lambda c: c.execute(held).scalar_one()) == 0

    play(tmp_path, scene)


@pytest.mark.parametrize("sure", [True, False])
def test_an_incident_asks_for_one_remedy_whoever_works_on_it(tmp_path: Path, sure: bool) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=sure)
        asked = (await it.ask("local.cache.clear")).json()["action_id"]
        # Its worker dies here; one with another identity, whose keys are its own, takes the step over.
        it.it.clock.advance(601)
        it.agent = await it.it.agent("agent-2")
        await it.claim()
        told = await it.it.client.get(
            f"/v1/incidents/{it.incident}", params={"session": it.held["session"]}, headers=it.agent
        )
        assert told.json()["asked"] == asked
        again = await it.ask("local.cache.clear")
        assert (again.status_code, again.json()["code"]) == (409, "incident.acted")
        assert asked in again.json()["detail"]
        # It can neither leave nor forget what was begun.
        for to, body in (("escalated", {}), ("proposed", {"action_id": "act_other"})):
            said = {"fence": it.held["fence"], "step": it.held["step"], "to": to, "body": body}
            left = await it.post(f"/v1/work/{it.held['work']}/finish", {**said, "session": it.held["session"]})
            assert (left.status_code, left.json()["code"]) == (409, "incident.acted")
        await it.finish("proposed", action_id=asked)
        await it.turn()
        assert await it.state() == ("verifying" if sure else "awaiting_approval")
        intents = [one for one in await it.it.records() if one["kind"] == "intent"]
        assert sum(one["body"]["action"]["name"] == "local.cache.clear" for one in intents) == sure
        assert len(it.it.supervisor.actions) == sure

    play(tmp_path, scene)
