"""What stands on record, and what the same question answers later."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker import background
from broker.errors import AuditUnavailable
from tests.sim.world import World, world


async def _settings_change(it: World) -> tuple[dict[str, str], str, dict[str, Any]]:
    """An agent proposes new settings for a file that holds a credential and an address."""
    agent = await it.agent()
    session = await it.session(agent)
    read = await it.act(agent, "local.config.read", session, type_="config")
    assert read.status_code == 200, read.text
    arguments = {"content": '{"pool": 16}', "expected_blob": read.json()["result"]["value"]["blob"]}
    waiting = await it.act(agent, "local.config.write", session, arguments, type_="config")
    assert waiting.status_code == 202, waiting.text
    return agent, session, waiting.json()


def test_a_plan_shows_a_reviewer_what_changes_and_no_secret_of_the_target(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            _, _, waiting = await _settings_change(it)
            seen = await it.client.get(f"/v1/approvals/{waiting['approval']['id']}", headers=await it.person("oncall"))
            assert "pool" in seen.text
            assert "16" in seen.text
            assert "AKIAIOSFODNN7EXAMPLE" not in seen.text
            assert "bob.stone" not in seen.text
        stored = it.everything_stored()
        assert b"AKIAIOSFODNN7EXAMPLE" not in stored
        assert b"bob.stone" not in stored

    asyncio.run(main())


def test_a_callers_own_words_never_enter_a_leaf(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            await it.act(agent, "AKIAIOSFODNN7EXAMPLE.a.b", session, id_="alice.miller", type_="078-05-1120", env="bob")
            security = await it.person("security")
            body = {"scope": "agent", "target": "kc:alice.miller@example.org", "reason": "card 4111111111111111"}
            assert (await it.client.post("/v1/kill", json=body, headers=security)).status_code == 200
            leaves = orjson.dumps(await it.records())
            for word in (b"AKIA", b"alice", b"078-05", b'"bob"', b"4111111111111111"):
                assert word not in leaves
        assert b"4111111111111111" not in it.everything_stored()

    asyncio.run(main())


def test_a_stop_that_names_a_person_by_an_address_can_be_lifted_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            security = await it.person("security")
            body = {"scope": "agent", "target": "kc:alice.miller@example.org", "reason": "looks wrong"}
            await it.client.post("/v1/kill", json=body, headers=security)
            lifted = await it.client.post("/v1/kill/resume", json=body, headers={**security, **it.key()})
            assert lifted.status_code == 200
            assert lifted.json()["changed"] is True

    asyncio.run(main())


def test_a_reviews_reason_is_kept_and_shown_without_what_redaction_hides(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            _, _, waiting = await _settings_change(it)
            oncall = await it.person("oncall")
            answer = await it.review(oncall, waiting["approval"], "deny", reason="ask carol.king@example.org first")
            assert answer.status_code == 200, answer.text
            seen = await it.client.get(f"/v1/approvals/{waiting['approval']['id']}", headers=oncall)
            [review] = seen.json()["reviews"]
            assert review["reason"].startswith("ask EMAIL_")
            assert "carol" not in seen.text

    asyncio.run(main())


def test_a_failed_write_is_told_alike_at_once_and_later_and_asked_of_the_target(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            child = it.supervisor.children["checkout"]
            it.supervisor.refusing = {"checkout"}
            first = await it.act(agent, "local.process.restart", session, env="staging", key=key)
            later = await it.client.get(
                f"/v1/actions/{first.json().get('action_id') or _id(await it.records())}", headers=agent
            )
            again = await it.act(agent, "local.process.restart", session, env="staging", key=key)
            said = {(await it.records())[-1]["body"]["outcome"]["status"], later.json()["status"]}
            assert len(said) == 1
            assert said <= {"failed", "unknown"}
            assert (again.status_code, again.json()["status"]) == (first.status_code, first.json()["status"])
            assert again.json()["receipt"] == first.json()["receipt"]
            assert child.restarts == 0

    asyncio.run(main())


def test_one_key_with_another_payload_is_refused_also_after_a_reviewer_narrowed(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            waiting = await it.act(agent, "local.process.restart", session, key=key)
            assert waiting.status_code == 202
            other = await it.act(agent, "local.process.status", session, key=key)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")

    asyncio.run(main())


def test_a_session_opened_twice_under_one_key_is_one_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, key = await it.person("oncall"), it.key()
            body = {"intent": [{"kind": "task", "text": "mail alice.miller@example.org", "source": "test"}]}
            answers = [await it.client.post("/v1/sessions", json=body, headers={**oncall, **key}) for _ in range(2)]
            assert len({answer.json()["session"] for answer in answers}) == 1
        assert b"alice.miller" not in it.everything_stored()

    asyncio.run(main())


def test_an_action_that_an_outage_keeps_from_running_costs_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SWEEP_SECONDS", 3_600)  # it tries again with each sweep, and should

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            waiting = (await it.act(agent, "local.process.restart", session)).json()
            tries = 0

            async def postponed(_: object) -> None:
                nonlocal tries
                tries += 1
                raise AuditUnavailable

            it.gate.pipeline.resume = postponed  # type: ignore[assignment,method-assign]
            assert (await it.review(await it.person("oncall"), waiting["approval"])).status_code == 200
            state = await it.client.get(f"/v1/actions/{waiting['action_id']}", params={"wait": 2}, headers=agent)
            assert state.json()["status"] == "running"
            assert tries <= 2

    asyncio.run(main())


def test_the_detail_of_an_unavailable_log_names_no_driver(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            it.gate.log.halt("host db.internal user gate")
            answer = await it.act(agent, "local.process.status", session)
            assert answer.status_code == 503
            assert "db.internal" not in answer.text

    asyncio.run(main())


def test_an_outcome_that_comes_after_the_action_was_given_up_is_the_one_that_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            execute, begun, go_on = it.gate.connectors["local"].execute, asyncio.Event(), asyncio.Event()

            async def slow(*arguments: Any) -> Any:
                begun.set()
                await go_on.wait()
                return await execute(*arguments)

            it.gate.connectors["local"].execute = slow  # type: ignore[method-assign]
            running = asyncio.create_task(it.act(agent, "local.process.status", session))
            await begun.wait()
            [intent] = await it.gate.log.open_intents("default")
            await it.gate.records.recovery("default", intent.id, status="unknown", detail="given up")
            go_on.set()
            answer = (await running).json()
            last = (await it.records())[-1]
            assert (last["kind"], last["body"]["outcome"]["status"]) == ("outcome", "done")
            assert answer["receipt"]["seq"] == last["seq"]
            later = await it.client.get(f"/v1/actions/{answer['action_id']}", headers=agent)
            assert later.json()["receipt"] == answer["receipt"]

    asyncio.run(main())


def _id(records: list[dict[str, Any]]) -> str:
    """The action of the newest intent."""
    return str(next(record["id"] for record in reversed(records) if record["kind"] == "intent"))
