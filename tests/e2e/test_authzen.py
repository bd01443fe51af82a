"""The public certification scenario of AuthZEN 1.0 over HTTP, and what it does not ask: who may ask, and what stays untouched.

https://github.com/openid/authzen, certification/authorization-api-1_0-scenario.md: its fixture is a bundle (``tests/sim/certification.py``),
its requests are ``tests/vectors/authzen/scenario.json``.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.identity.dev import Persona
from tests.sim import world as sim
from tests.sim.certification import certification
from tests.sim.served import served
from tests.sim.world import World

SCENARIO = json.loads((Path(__file__).parents[1] / "vectors" / "authzen" / "scenario.json").read_text())
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
RECORD = {"type": "record", "id": "record-1"}


@dataclass(frozen=True)
class Scene:
    """One gate for all tests of this file, on one event loop."""

    runner: asyncio.Runner
    it: World
    pep: Mapping[str, str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    people = {"alice": Persona("alice", ("oncall",)), "bob": Persona("bob", ("auditor",))}
    people |= {name: Persona(name, ("oncall",)) for name in ("dana", "eve", "finn", "gina")}
    with pytest.MonkeyPatch.context() as changed, asyncio.Runner() as runner:
        changed.setattr(sim, "PEOPLE", {**sim.PEOPLE, **people})
        made = certification(tmp_path_factory.mktemp("authzen"))
        it, pep = runner.run(made.__aenter__())
        try:
            yield Scene(runner, it, pep)
        finally:
            runner.run(made.__aexit__(None, None, None))


def test_the_certification_scenario_holds_over_http(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> list[str]:
        async with served(it.app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
            client.headers.update({**pep, "Host": "localhost:8480"})
            return [fault for case in SCENARIO["cases"] if (fault := await _fault(client, case))]

    assert scene.runner.run(main()) == []


async def _fault(client: httpx.AsyncClient, case: Mapping[str, Any]) -> str:
    """What is wrong with the answer to one request of the scenario; empty where nothing is."""
    headers = {"Content-Type": "application/json", **case.get("headers", {})}
    content = case["raw"] if "raw" in case else json.dumps(case["body"])
    for _ in range(case.get("times", 1)):
        answer = await client.post(case["path"], content=content, headers=headers)
        where = f"{case['section']}: {answer.status_code} {answer.text[:300]}"
        if answer.status_code != case["status"]:
            return where
        if answer.headers.get("x-request-id") != headers.get("X-Request-ID"):
            return f"{where}: X-Request-ID"
        if case["status"] == 200 and not _fits(answer, case["expect"]):
            return where
    return ""


def _fits(answer: httpx.Response, expect: Mapping[str, Any]) -> bool:
    """Whether the body is one that the scenario's harness takes."""
    body = answer.json()
    if answer.headers["content-type"] != "application/json" or not isinstance(body.get("context", {}), dict):
        return False
    if "decision" in expect:
        return body["decision"] is expect["decision"]
    if "decisions" in expect:
        said = [one["decision"] for one in body["evaluations"]]
        return (
            all(isinstance(one, bool) for one in said)
            and len(said) == len(expect["decisions"])
            and all(wanted in (None, one) for one, wanted in zip(said, expect["decisions"], strict=True))
        )
    found = [one.get("id", one.get("name")) for one in body["results"]]
    kinds = {one.get("type", "") for one in body["results"]} <= {expect.get("type", "")}
    token = body["page"]["next_token"]
    return (
        kinds
        and set(expect["includes"]) <= set(found)
        and isinstance(token, str)
        and (expect.get("exactly") is None or len(found) == expect["exactly"])
    )


def test_a_search_goes_on_where_its_page_ended_and_a_token_of_another_search_is_refused(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> tuple[list[str], list[str], int]:
        asked: dict[str, Any] = {"subject": {"type": "user"}, "action": {"name": "read"}, "resource": RECORD}
        found: list[str] = []
        pages: list[str] = []
        page: dict[str, Any] = {"limit": 1, "token": ""}
        while True:
            answer = (await _ask(it, pep, "search/subject", {**asked, "page": page})).json()
            found += [one["id"] for one in answer["results"]]
            pages.append(page["token"] and "more")
            page["token"] = answer["page"]["next_token"]
            if not page["token"]:
                break
            other = {**asked, "resource": {"type": "record", "id": "record-2"}, "page": dict(page)}
            refused = (await _ask(it, pep, "search/subject", other)).status_code
        return found, pages, refused

    found, pages, refused = scene.runner.run(main())
    assert sorted(found) == ["alice", "bob"]
    assert len(pages) >= 2
    assert refused == 400


def test_metadata_names_the_gates_public_address_and_endpoints_that_are_there(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> None:
        answer = await it.client.get("/.well-known/authzen-configuration", headers={"X-Request-ID": "one"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["x-request-id"] == "one"
        said = answer.json()
        assert said.pop("policy_decision_point") == it.settings.url
        assert said.pop("obligations_supported") == ["custom"]
        searches = {f"search_{what}_endpoint" for what in ("subject", "resource", "action")}
        assert set(said) == {"access_evaluation_endpoint", "access_evaluations_endpoint"} | searches
        for url in said.values():
            assert url.startswith(f"{it.settings.url}/access/v1/")
            assert (await it.client.post(url, json={}, headers=pep)).status_code == 400

    scene.runner.run(main())


def test_a_list_ends_where_its_semantic_says(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> dict[str, list[bool]]:
        said: dict[str, list[bool]] = {}
        for semantic in ("execute_all", "deny_on_first_deny", "permit_on_first_permit"):
            body = {
                "subject": BOB,
                "resource": RECORD,
                "options": {"evaluations_semantic": semantic},
                "evaluations": [{"action": {"name": name}} for name in ("read", "write", "read")],
            }
            answer = (await _ask(it, pep, "evaluations", body)).json()
            said[semantic] = [one["decision"] for one in answer["evaluations"]]
        wrong = {"subject": BOB, "action": {"name": "read"}, "resource": RECORD, "evaluations": [{}]}
        wrong["options"] = {"evaluations_semantic": "some"}
        assert (await _ask(it, pep, "evaluations", wrong)).status_code == 400
        return said

    assert scene.runner.run(main()) == {
        "execute_all": [True, False, True],
        "deny_on_first_deny": [True, False],
        "permit_on_first_permit": [True],
    }


def test_who_may_ask_about_whom_is_policys_word_and_every_question_is_on_record(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> tuple[list[int], list[tuple[str, str]], list[str]]:
        alice = await it.person("alice")
        read = {"action": {"name": "read"}, "resource": RECORD}
        other, own = {"subject": BOB, **read}, {"subject": {"type": "human", "id": "dev:alice"}, **read}
        stranger = {"subject": {"type": "human", "id": "dev:alice"}, **read}
        answers = [
            await _ask(it, {}, "evaluation", other),
            await _ask(it, alice, "evaluation", other),
            await _ask(it, alice, "search/subject", {**read, "subject": {"type": "user"}}),
            await _ask(it, alice, "evaluation", own),
            await _ask(it, alice, "search/action", {"subject": own["subject"], "resource": RECORD}),
            await _ask(it, pep, "evaluation", other),
        ]
        assert answers[3].json()["decision"] is answers[5].json()["decision"] is True
        # Another tenant's people and records are not there for the stranger, whatever roles it holds.
        far = await _ask(it, await it.person("stranger"), "evaluation", stranger)
        assert far.json()["decision"] is False
        found = await _ask(
            it, await it.person("stranger"), "search/resource", {**stranger, "resource": {"type": "record"}}
        )
        assert found.json()["results"] == []
        records = [one["body"] for one in await it.records()]
        kinds = [(one["action"]["name"], "decision" in one) for one in records if "action" in one]
        seq = answers[5].json()["context"]["receipt"]["seq"]
        told = (await it.records())[seq]["body"]
        return (
            [one.status_code for one in answers],
            sorted({(name, str(known)) for name, known in kinds if name.startswith("gate.decision")}),
            [told["action"]["name"]],
        )

    statuses, acts, recorded = scene.runner.run(main())
    assert statuses == [401, 403, 403, 200, 200, 200]
    assert {name for name, _ in acts} == {f"gate.decision.{one}" for one in ("evaluate", "own", "own_search", "search")}
    assert recorded == ["gate.decision.evaluate"]


def test_an_answer_uses_nothing_up_and_an_approval_is_a_no_until_people_gave_it(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> None:
        agent = {"type": "agent", "id": "dev:agent-1"}
        await it.session(await it.agent())
        restart = {
            "subject": agent,
            "action": {"name": "local.process.restart"},
            "resource": {"type": "process", "id": "checkout", "properties": {"env": "prod"}},
        }
        for _ in range(40):  # policy lets it be asked for ten times an hour at once
            answer = (await _ask(it, pep, "evaluation", restart)).json()
            assert answer["decision"] is False
            assert "approval.required" in [one["code"] for one in answer["context"]["reasons"]]
        query = {**restart, "action": {"name": "local.process.status"}}
        assert (await _ask(it, pep, "evaluation", query)).json()["decision"] is True
        assert it.restarts() == 0
        waiting = (await it.client.get("/v1/approvals", headers=pep)).json()
        assert waiting["approvals"] == []
        # Whoever is stopped may do nothing, from this moment on.
        kill = {"scope": "agent", "target": "dev:agent-1", "reason": "look"}
        assert (await it.client.post("/v1/kill", json=kill, headers=await it.person("oncall"))).status_code == 200
        stopped = (await _ask(it, pep, "evaluation", query)).json()
        assert stopped["decision"] is False
        assert stopped["context"]["reasons"][0]["code"] == "kill.stopped"
        again = {**kill, "reason": "looked"}
        headers = {**await it.person("security"), **it.key()}
        assert (await it.client.post("/v1/kill/resume", json=again, headers=headers)).status_code == 200

    scene.runner.run(main())


def test_duties_are_told_to_who_must_discharge_them_and_a_pep_that_cannot_gets_a_no(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> None:
        read = {"subject": ALICE, "action": {"name": "read"}, "resource": RECORD}
        told = (await _ask(it, pep, "evaluation", read)).json()["context"]["obligations"]
        assert {one["type"] for one in told} == {"custom"}
        assert {one["kind"].split(".")[0] for one in told} >= {"cap", "limit", "redact"}
        assert len({one["id"] for one in told}) == len(told)
        for able, wanted in ((["custom"], True), (["step-up"], False), ([], False)):
            asked = {**read, "context": {"obligations_supported": able}}
            assert (await _ask(it, pep, "evaluation", asked)).json()["decision"] is wanted, able
        # What the gate does itself, it also discharges itself.
        query = {
            "subject": ALICE,
            "action": {"name": "local.process.status"},
            "resource": {"type": "process", "id": "payments"},
            "context": {"obligations_supported": []},
        }
        answer = (await _ask(it, pep, "evaluation", query)).json()
        assert (answer["decision"], "obligations" in answer["context"]) == (True, False)

    scene.runner.run(main())


def test_what_a_pep_says_counts_only_where_policy_believes_it(scene: Scene) -> None:
    it, pep = scene.it, scene.pep

    async def main() -> None:
        write = {"subject": ALICE, "action": {"name": "write"}, "resource": RECORD}
        archived = {**RECORD, "properties": {"status": "archived", "env": "staging"}}
        assert (await _ask(it, pep, "evaluation", write)).json()["decision"] is True
        assert (await _ask(it, pep, "evaluation", {**write, "resource": archived})).json()["decision"] is False
        for subject, wanted in (
            ({"type": "human", "id": "dev:nobody", "properties": {"role": "oncall"}}, False),
            ({"type": "user", "id": "nobody", "properties": {"role": "oncall"}}, True),
            ({"type": "user", "id": "nobody", "properties": {"roles": ["oncall"]}}, False),
            ({"type": "spaceship", "id": "alice"}, False),
        ):
            answer = await _ask(it, pep, "evaluation", {**write, "subject": subject})
            assert answer.json()["decision"] is wanted, subject
        # An argument that breaks its own type is a no; a fraction is exact text, and no float goes further.
        soft = {**write, "action": {"name": "delete", "properties": {"soft": 0.5}}}
        answer = await _ask(it, pep, "evaluation", soft)
        assert (answer.status_code, answer.json()["decision"]) == (200, False)
        assert answer.json()["context"]["reasons"][0]["code"] == "request.arguments"

    scene.runner.run(main())


def test_a_question_that_is_not_whole_gets_an_answer_and_never_an_outcome_that_nobody_knows(scene: Scene) -> None:
    it, pep = scene.it, scene.pep
    me, read = {"type": "human", "id": "dev:dana"}, {"name": "read"}
    whole = {"subject": me, "action": read, "resource": RECORD}

    async def own(who: Mapping[str, str], **arguments: Any) -> httpx.Response:
        gate = {"type": "gate", "id": "gate", "env": "prod"}
        action = "gate.decision.own_search" if "find" in arguments else "gate.decision.own"
        body = {"session": "", "action": action, "resource": gate, "arguments": arguments}
        return await it.client.post("/v1/actions", json=body, headers={**who, **it.key()})

    async def main() -> None:
        dana = await it.person("dana")
        for part, lost in (("subject", "id"), ("resource", "id"), ("subject", ""), ("action", ""), ("resource", "")):
            short = {name: dict(one) for name, one in whole.items() if lost or name != part}
            short.get(part, {}).pop(lost, None)
            answer = await own(dana, asked=[short])
            assert answer.status_code == 200, answer.text
            [said] = answer.json()["result"]["value"]["evaluations"]
            wanted = {"status": 400, "message": f"field `{part}{'.' * bool(lost)}{lost}` is required"}
            assert (said["decision"], said["context"]["error"]) == (False, wanted)
        for find, asked, code in (
            ("action", [{"resource": RECORD}], "request.field"),
            ("action", [{"subject": me, "resource": {"type": "record"}}], "request.field"),
            ("action", [whole, whole], "request.arguments"),
            ("resource", [{"subject": me, "action": read}], "request.field"),
        ):
            refused = await own(dana, find=find, asked=asked)
            assert (refused.status_code, refused.json()["code"]) == (400, code), asked
        search = {"subject": me, "resource": RECORD}
        mark = (await _ask(it, dana, "search/action", {**search, "page": {"limit": 1}})).json()["page"]["next_token"]
        for place in (mark[1:17], "00", "ff"):
            page = {"token": f"{place}-{mark[-16:]}"}
            assert (await _ask(it, dana, "search/action", {**search, "page": page})).status_code == 400, place
        nul = {**whole, "subject": {"type": "user", "id": "a\x00b"}}
        assert (await _ask(it, pep, "evaluation", nul)).json()["decision"] is False

    scene.runner.run(main())


def test_the_act_about_oneself_answers_about_nobody_else_whatever_their_id(scene: Scene) -> None:
    it = scene.it

    async def main() -> None:
        dana, read = await it.person("dana"), {"action": {"name": "read"}, "resource": RECORD}
        gate = {"type": "gate", "id": "gate", "env": "prod"}
        for type_, id_, status in (
            ("human", "dev:dana", 200),
            ("user", "dana", 200),
            ("user", "dev:dana", 403),
            ("agent", "dev:dana", 403),
            ("spaceship", "dev:dana", 403),
        ):
            subject = {"type": type_, "id": id_, "properties": {"role": "auditor"}}
            answer = await _ask(it, dana, "evaluation", {**read, "subject": subject})
            assert answer.status_code == status, subject
            arguments = {"asked": [{**read, "subject": {"type": type_, "id": id_}}]}
            body = {"session": "", "action": "gate.decision.own", "resource": gate, "arguments": arguments}
            straight = await it.client.post("/v1/actions", json=body, headers={**dana, **it.key()})
            assert straight.status_code == status, subject
            assert status == 200 or straight.json()["code"] == "decision.not_own"

    scene.runner.run(main())


def test_a_search_costs_more_than_a_look(scene: Scene) -> None:
    it = scene.it

    async def main() -> list[int]:
        eve = await it.person("eve")
        asked = {"subject": {"type": "human", "id": "dev:eve"}, "resource": RECORD}
        return [(await _ask(it, eve, "search/action", asked)).status_code for _ in range(31)]

    assert scene.runner.run(main()) == [200] * 30 + [429]


def test_each_question_costs_as_much_alone_and_in_a_list(scene: Scene) -> None:
    it = scene.it

    async def main() -> None:
        gina, own = await it.person("gina"), {"subject": {"type": "human", "id": "dev:gina"}, "resource": RECORD}
        one = {**own, "action": {"name": "read"}}
        alone = [await _ask(it, gina, "evaluation", one) for _ in range(50)]
        lists = [await _ask(it, gina, "evaluations", {"evaluations": [one] * 50}) for _ in range(6)]
        assert {answer.status_code for answer in alone} == {200}
        assert [answer.status_code for answer in lists] == [200] * 5 + [429]

    scene.runner.run(main())


def test_searches_take_turns_and_a_single_question_waits_for_none(scene: Scene) -> None:
    it = scene.it

    async def main() -> None:
        own = {"subject": {"type": "human", "id": "dev:finn"}, "resource": RECORD}
        finn, turns = await it.person("finn"), it.gate.evaluating.turns
        turns.lane.waiting_max = 2
        async with turns.of("default"), turns.of("default"):
            searches = [asyncio.create_task(_ask(it, finn, "search/action", own)) for _ in range(3)]
            [turned_away], waiting = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
            refused = turned_away.result()
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.overloaded"), refused.text
            assert refused.headers["retry-after"]
            one = await _ask(it, finn, "evaluation", {**own, "action": {"name": "read"}})
            assert one.status_code == 200
            assert turns.lane.depth == (2, 2, 1)
            told = (await it.client.get("/metrics")).text
            assert 'wicketgate_queue_depth{queue="decisions"} 2' in told
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert turns.lane.running == turns.lane.waiting == 0

    scene.runner.run(main())


async def _ask(it: World, who: Mapping[str, str], where: str, body: Mapping[str, Any]) -> httpx.Response:
    return await it.client.post(f"/access/v1/{where}", json=body, headers=dict(who))
