"""Judging a submission on a real log and a real database: ownership, tenants, age, erasure, and what policy sees."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.log import Log
from audit.sqlite import SqliteStore
from broker.answers import observation_id
from broker.catalog import Action
from broker.clock import SeededClock
from broker.errors import AuditUnavailable, BadRequest
from broker.evidence import Diagnosis, Evidence, Symptom
from broker.evidence.judge import matches
from broker.kept import KeptInLog
from broker.model import ActionRequest, Effect, Grant, Intent, Json, Principal, Redacted, Resource, Result, ResultStatus
from broker.records import Records
from broker.sessions import Opening, Sessions
from broker.store import Store
from broker.store.traces import Trace, keep
from broker.topology import Graph
from tests.stores import FAR, agent, decision_of, fresh_tenant, human
from tests.unit.audit.room import erasure, open_log
from tests.unit.evidence.speech import LINES, SHOP, claim

KEPT_S = 3600
INCIDENT = "inc_1"
RESOURCE = Resource("process", "checkout", "prod", "eu-west-1")
METRICS = Action(
    "shop.metrics.read", "shop", "Read", Effect.READ, "reversible", True, ("process",), {}, signal="metric"
)
LOGS = dataclasses.replace(METRICS, name="shop.logs.search", signal="log")
CHAT = dataclasses.replace(METRICS, name="llm.messages.create", connector="llm", signal="")
RESTART = dataclasses.replace(METRICS, name="shop.process.restart", effect=Effect.WRITE, signal="state")
ACTIONS = {one.name: one for one in (METRICS, LOGS, CHAT, RESTART)}
SPOKEN = Intent("alert", "errors of checkout", "alertmanager", "gate", trusted=True)


class Room:
    """One tenant's log, sessions and judge."""

    def __init__(self, store: Store, clock: SeededClock, folder: Path) -> None:
        self.tenant, self.clock, self.folder = fresh_tenant(), clock, folder
        self.database = folder / "log.db"
        self.log: Log = open_log(SqliteStore(self.database), folder)
        self.records = Records(self.log, clock=clock, pseudonym_key=bytes(32), is_action=ACTIONS.__contains__)
        self.sessions = Sessions(store, clock)
        self.evidence = Evidence(
            store, clock, results=KeptInLog(self.records), signal_of=lambda name: ACTIONS[name].signal, kept_s=KEPT_S
        )
        self.agent = agent("agent-1", self.tenant)
        self._numbers = itertools.count()

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Tell a story with the log open."""

        async def main() -> None:
            await self.log.start()
            try:
                await story()
            finally:
                await self.log.aclose()

        asyncio.run(main())

    async def session(self, incident: str = INCIDENT) -> str:
        opening = Opening((SPOKEN,), 10**6, incident=incident)
        opened = await self.sessions.open_for_incident(self.tenant, opening)
        return opened.id

    async def observe(
        self,
        session: str,
        action: Action = METRICS,
        value: Json = SHOP,
        status: ResultStatus = ResultStatus.OK,
        *,
        who: Principal | None = None,
        finished: bool = True,
    ) -> str:
        """Put one action on record as the pipeline does; the observation's id."""
        principal = who or self.agent
        action_id = f"act_{next(self._numbers):026d}"
        request = ActionRequest(
            action_id, principal.tenant, session, action.name, RESOURCE, {"step_s": 15}, "look", "0" * 64
        )
        plain = Redacted({"step_s": 15}, "standard", {})
        grant = Grant(action_id, request, "r1", FAR)
        await self.records.intent(principal, request, decision_of(), grant, declared=action, redacted=plain)
        if finished:
            await self.records.outcome(
                principal,
                request,
                status="done",
                redacted=Redacted(value, "standard", {}),
                result=Result(status, value),
                answer={"result": {"status": status.value, "value": value}},
            )
        return observation_id(action_id)

    async def judge(self, *claims: dict[str, Any], incident: str = INCIDENT, **other: Any) -> Diagnosis:
        said = {"cause": {"component": "checkout", "fault": "bad_config", "summary": "the rate is 0.5, not 7"}} | other
        return await self.evidence.judge(
            tenant=self.tenant,
            incident=incident,
            session="ses_agent",
            claims=list(claims),
            topology=Graph(),
            symptom=Symptom("checkout"),
            **said,
        )

    async def reason(self, observation: str) -> str:
        """The code with which a claim over the observation is not verified, or its verdict."""
        found = await self.judge(high(observation))
        return str(found.claims[0]["reason"] or found.claims[0]["verdict"])


@pytest.fixture
def room(store: Store, clock: SeededClock, tmp_path: Path) -> Room:
    return Room(store, clock, tmp_path)


def high(observation: str, wanted: Any = "0.4", **other: Any) -> dict[str, Any]:
    return claim("$.series[0].points[*] | max", "gt", wanted, **other) | {"observation": observation}


def noisy(observation: str) -> dict[str, Any]:
    return claim("$.lines[*].text", "contains", "pool exhausted") | {"observation": observation}


def test_two_kinds_of_evidence_of_this_incident_make_a_diagnosis(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        metric, log = await room.observe(session), await room.observe(session, LOGS, LINES)
        found = await room.judge(high(metric, text="errors at 0.5 of 12"), noisy(log))
        assert (found.verdict, found.missing) == ("diagnosed", [])
        assert [(one["verdict"], one["signal"]) for one in found.claims] == [
            ("verified", "metric"),
            ("verified", "log"),
        ]
        assert found.cause["summary"] == "the rate is 0.5, not […]"
        assert found.claims[0]["text"] == "errors at 0.5 of […]"
        assert await room.evidence.get(room.tenant, found.id) == found
        assert await room.evidence.of_incident(room.tenant, INCIDENT) == [found]
        assert await room.evidence.get(fresh_tenant(), found.id) is None

    room.run(story)


def test_an_agent_that_asserts_its_own_verdict_changes_nothing(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        metric = await room.observe(session)
        for word in ("verified", "verdict", "confidence", "confidence_milli", "signal", "source", "actual"):
            with pytest.raises(BadRequest):
                await room.judge(high(metric) | {word: "verified"})
            with pytest.raises(BadRequest):
                await room.judge(high(metric), cause={"component": "checkout", "fault": "x", word: "0.99"})
        assert await room.evidence.of_incident(room.tenant, INCIDENT) == []
        swearing = await room.judge(high(metric, 9, text="VERIFIED with confidence 1.0"))
        silent = await room.judge(high(metric, 9))
        told = {"verdict", "confidence_milli", "verified", "refuted", "sources", "signals", "missing"}
        assert {name: getattr(swearing, name) for name in told} == {name: getattr(silent, name) for name in told}
        assert (swearing.verdict, swearing.verified, swearing.confidence_milli) == ("inconclusive", 0, 0)

    room.run(story)


def test_only_observations_of_this_incident_and_tenant_count(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        mine, elsewhere, alone = await room.observe(session), await room.observe(await room.session("inc_2")), ""
        alone = await room.observe("")
        ann = human("ann", tenant=room.tenant)
        in_person = await room.sessions.open(ann, Opening((SPOKEN,), 600, incident=INCIDENT))
        by_person = await room.observe(in_person.id, who=ann)
        outside = await room.sessions.open(room.agent, Opening((SPOKEN,), 600))
        by_agent = await room.observe(outside.id)
        stranger = dataclasses.replace(room.agent, tenant=fresh_tenant())
        theirs = await room.observe(session, who=stranger)
        codes = [await room.reason(one) for one in (mine, by_person, elsewhere, alone, by_agent, theirs, "obs_none")]
        assert codes == ["verified", "verified", *["observation.foreign"] * 3, *["observation.missing"] * 2]

    room.run(story)


def test_results_of_writes_models_and_failures_are_no_evidence(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        assert await room.reason(await room.observe(session, RESTART)) == "observation.write"
        assert await room.reason(await room.observe(session, CHAT)) == "observation.no_signal"
        assert await room.reason(await room.observe(session, status=ResultStatus.ERROR)) == "observation.error"
        assert await room.reason(await room.observe(session, finished=False)) == "observation.unfinished"
        assert await room.reason(await room.observe(session, value={"withheld": "large"})) == "observation.withheld"
        assert await room.reason(await room.observe(session, status=ResultStatus.TRUNCATED)) == "observation.truncated"
        assert await room.reason(await room.observe(session, status=ResultStatus.EMPTY)) == "selector.none"

    room.run(story)


def test_an_old_observation_is_no_evidence(room: Room) -> None:
    async def story() -> None:
        observation = await room.observe(await room.session())
        room.clock.advance(KEPT_S - 1)
        assert await room.reason(observation) == "verified"
        room.clock.advance(1)
        assert await room.reason(observation) == "observation.expired"

    room.run(story)


def test_an_erased_observation_is_no_evidence(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        observation = await room.observe(session)
        await room.log.erase(room.tenant, session, erasure("erase_1", session))
        assert await room.reason(observation) == "observation.erased"

    room.run(story)


def test_a_result_that_was_changed_in_the_database_is_not_judged(room: Room) -> None:
    import sqlite3

    async def story() -> None:
        observation = await room.observe(await room.session())
        with sqlite3.connect(room.database) as connection:
            triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for (name,) in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("UPDATE audit_payload SET box = CAST(substr(box, 1, length(box) - 1) || 'x' AS BLOB)")
        with pytest.raises(AuditUnavailable):
            await room.reason(observation)

    room.run(story)


def test_policy_sees_the_gates_figures_for_this_incident_and_target_alone(room: Room) -> None:
    async def story() -> None:
        session, other = await room.session(), await room.session("inc_2")
        metric, log = await room.observe(session), await room.observe(session, LOGS, LINES)
        found = await room.judge(high(metric), noisy(log))
        facts = await room.evidence.facts(room.tenant, session, found.id, RESOURCE)
        assert facts == {
            "diagnosis": found.id,
            "verdict": "diagnosed",
            "verified": 2,
            "refuted": 0,
            "sources": 2,
            "signals": 2,
            "confidence_milli": found.confidence_milli,
            "component": "checkout",
            "fault": "bad_config",
            "matches": True,
            "about": 2,
            "independent": 2,
        }
        elsewhere = Resource("process", "payments", "prod", "us-east-1")
        there = await room.evidence.facts(room.tenant, session, found.id, elsewhere)
        assert (there["matches"], there["about"], there["independent"]) == (False, 0, 0)
        assert await room.evidence.facts(room.tenant, other, found.id, RESOURCE) == {}
        assert await room.evidence.facts(room.tenant, "", found.id, RESOURCE) == {}
        assert await room.evidence.facts(room.tenant, session, "dgn_none", RESOURCE) == {}
        assert await room.evidence.facts(fresh_tenant(), session, found.id, RESOURCE) == {}

    room.run(story)


def test_the_same_submission_has_the_same_verdict_again(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        metric, log = await room.observe(session), await room.observe(session, LOGS, LINES)
        one, other = [await room.judge(high(metric), noisy(log), high(metric, 9, role="context")) for _ in range(2)]
        same = dataclasses.replace(other, id=one.id)
        assert one == same

    room.run(story)


def test_how_past_diagnoses_of_the_fault_held_moves_confidence(room: Room, store: Store) -> None:
    async def past(*outcomes: str) -> None:
        for number, outcome in enumerate(outcomes):
            row = Trace(
                room.tenant, f"inc_{number}", "fp", "checkout", "prod", "bad_config", "checkout", outcome, {}, number
            )
            await store.write(lambda c, row=row: keep(c, row))

    async def story() -> None:
        session = await room.session()
        metric, log = await room.observe(session), await room.observe(session, LOGS, LINES)

        async def confidence() -> int:
            return (await room.judge(high(metric), noisy(log))).confidence_milli

        unknown = await confidence()
        await past("escalated", "noise", "handled")
        assert await confidence() == unknown
        await past("mitigated", "mitigated", "mitigated")
        good = await confidence()
        await past("rolled_back", "rolled_back", "rolled_back")
        assert good > unknown > await confidence()

    room.run(story)


def test_the_work_on_one_submission_is_bounded(room: Room) -> None:
    async def story() -> None:
        large = await room.observe(await room.session(), value={"a": [0] * 45_000})
        costly = claim("$.a[*] | where(>= 0) | count", "eq", 45_000) | {"observation": large}
        found = await room.judge(*[costly | {"text": str(number)} for number in range(9)])
        verdicts = [one["reason"] or one["verdict"] for one in found.claims]
        assert set(verdicts[:5]) == {"verified"}
        assert verdicts[-1] == "selector.steps"
        assert {one["idle"] for one in found.claims if one["verdict"] == "verified"} <= {
            "claim.not_judged",
            "claim.no_reference",
        }

    room.run(story)


@pytest.mark.parametrize(
    ("labels", "theirs"),
    [
        ({}, False),
        ({"service": "checkout"}, True),
        ({"component": "checkout"}, True),
        ({"services": "payments checkout"}, True),
        ({"services": "checkout-old"}, False),
    ],
)
def test_a_resource_matches_the_component_by_the_inventory(labels: dict[str, str], theirs: bool) -> None:
    assert matches("checkout", Resource("repository", "shop", "prod", "eu-west-1", labels)) is theirs
    assert not matches("", Resource("process", "", "prod"))


def test_results_that_are_too_much_together_are_refused_by_name(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        session = await room.session()
        one, other = [await room.observe(session) for _ in range(2)]
        monkeypatch.setattr("broker.evidence.observations.BYTES_MAX", len(orjson.dumps(SHOP)) + 10)
        assert (await room.judge(high(one), high(one))).claims[0]["verdict"] == "verified"
        with pytest.raises(BadRequest) as refused:
            await room.judge(high(one), high(other))
        assert refused.value.error_code == "evidence.too_large"

    room.run(story)
