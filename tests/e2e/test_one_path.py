"""One request at a time through all nine steps, on real parts."""

import asyncio
from pathlib import Path

from tests.sim.model_server import Turn
from tests.sim.world import MODEL, world


def test_an_allowed_read_is_redacted_recorded_and_answered_with_its_receipt(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            answer = await it.act(agent, "local.logs.search", session, {"window_seconds": 3600})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            text = answer.text
            assert "alice.miller" not in text
            assert "4111111111111111" not in text
            assert "wJalrXUtnFEMI" not in text
            assert "EMAIL_" in text
            assert "[SECRET:" in text
            kinds = [(record["kind"], record.get("about")) for record in await it.records()][-2:]
            assert kinds == [("intent", None), ("outcome", body["action_id"])]
            assert body["receipt"]["seq"] == len(await it.records()) - 1
            assert body["decision"]["tier"] == 0
            kept = await it.client.get(
                f"/v1/observations/{body['observation']}", params={"session": session}, headers=agent
            )
            assert kept.json()["value"] == body["result"]["value"]
        stored = it.everything_stored()
        assert b"alice.miller" not in stored
        assert b"wJalrXUtnFEMI" not in stored

    asyncio.run(main())


def test_a_restart_waits_for_another_person_and_happens_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            key = it.key()
            waiting = await it.act(agent, "local.process.restart", session, key=key)
            assert waiting.status_code == 202, waiting.text
            approval = waiting.json()["approval"]
            again = await it.act(agent, "local.process.restart", session, key=key)
            assert again.status_code == 202
            assert again.json()["approval"]["id"] == approval["id"]
            own = await it.review(agent, approval)
            assert own.status_code == 403, own.text
            assert it.restarts() == 0
            security = await it.person("security")
            seen = await it.client.get(f"/v1/approvals/{approval['id']}", headers=security)
            assert seen.json()["digest"] == approval["digest"]
            assert seen.json()["plan"]["summary"]
            done = await it.review(security, approval)
            assert done.status_code == 200, done.text
            result = await it.outcome(agent, waiting.json()["action_id"])
            assert result.status_code == 200, result.text
            assert result.json()["status"] == "done"
            assert it.restarts() == 1
            replay = await it.act(agent, "local.process.restart", session, key=key)
            assert replay.status_code == 200
            assert replay.json()["receipt"] == result.json()["receipt"]
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_model_sees_only_what_redaction_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("restart checkout")]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = {
                "model": MODEL,
                "max_tokens": 100,
                "messages": [
                    {"role": "user", "content": "why does alice.miller@example.org fail? key AKIAIOSFODNN7EXAMPLE"}
                ],
            }
            answer = await it.client.post(
                "/llm/anthropic/v1/messages", json=body, headers={**agent, "Wicketgate-Session": session}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["content"][0]["text"] == "restart checkout"
            [seen] = it.models.seen
            assert b"alice.miller" not in seen.body
            assert b"AKIAIOSFODNN7EXAMPLE" not in seen.body
            assert b"EMAIL_" in seen.body
            assert seen.headers["x-api-key"] == "provider-key"
            assert agent["Authorization"].encode() not in seen.body
            assert agent["Authorization"] not in seen.headers.values()

    asyncio.run(main())


def test_a_stream_is_relayed_and_its_end_waits_for_the_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("restart checkout now")]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = {
                "model": MODEL,
                "max_tokens": 100,
                "stream": True,
                "messages": [{"role": "user", "content": "why?"}],
            }
            answer = await it.client.post(
                "/llm/anthropic/v1/messages", json=body, headers={**agent, "Wicketgate-Session": session}
            )
            assert answer.status_code == 200, answer.text
            assert "message_stop" in answer.text
            last = (await it.records())[-1]
            assert last["kind"] == "outcome"
            assert last["body"]["outcome"]["status"] == "done"
            assert last["body"]["llm"] == {"tokens_in": 32, "tokens_out": 15}

    asyncio.run(main())
