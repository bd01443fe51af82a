"""Another tenant's things do not exist; an idempotency key belongs to one party of one tenant."""

import asyncio
from pathlib import Path
from typing import Any

from tests.sim.world import MODEL, World, world

RESTART = "local.process.restart"
STATUS = "local.process.status"


async def things(it: World, agent: dict[str, str]) -> dict[str, str]:
    """One of everything that the default tenant's agent can own."""
    session = await it.session(agent)
    done = (await it.act(agent, STATUS, session)).json()
    waiting = (await it.act(agent, RESTART, session)).json()
    return {
        "session": session,
        "action": done["action_id"],
        "observation": done["observation"],
        "approval": waiting["approval"]["id"],
        "digest": waiting["approval"]["digest"],
        "waiting": waiting["action_id"],
    }


def test_a_stranger_with_every_role_meets_nothing_of_another_tenant(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security, stranger = await it.agent(), await it.person("security"), await it.person("stranger")
            owned = await things(it, agent)
            absent = {name: value[:4] + "0" * (len(value) - 4) for name, value in owned.items()}

            async def tried(ids: dict[str, str]) -> list[tuple[int, Any]]:
                review = {"verdict": "approve", "digest": owned["digest"], "reason": "mine now"}
                model = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
                answers = [
                    await it.client.get(f"/v1/actions/{ids['action']}", headers=stranger),
                    await it.client.get(f"/v1/actions/{ids['waiting']}", headers=stranger),
                    await it.client.get(f"/v1/observations/{ids['observation']}", headers=stranger),
                    await it.client.get(f"/v1/approvals/{ids['approval']}", headers=stranger),
                    await it.client.post(
                        f"/v1/approvals/{ids['approval']}/reviews", json=review, headers={**stranger, **it.key()}
                    ),
                    await it.client.delete(f"/v1/sessions/{ids['session']}", headers={**stranger, **it.key()}),
                    await it.act(stranger, STATUS, ids["session"]),
                    await it.client.post(
                        "/llm/anthropic/v1/messages",
                        json=model,
                        headers={**stranger, "Wicketgate-Session": ids["session"]},
                    ),
                ]
                return [
                    (answer.status_code, answer.json().get("code", answer.json().get("wicketgate", {}).get("code")))
                    for answer in answers
                ]

            foreign = await tried(owned)
            assert {status for status, _ in foreign} == {404}, foreign
            assert foreign == await tried(absent), "another tenant's and absent are the same answer"
            listed = (await it.client.get("/v1/approvals", headers=stranger)).json()["approvals"]
            assert listed == []
            assert (await it.client.get("/v1/approvals", headers=security)).json()["approvals"][0]["id"] == owned[
                "approval"
            ]
            assert it.restarts() == 0
            assert (await it.client.get(f"/v1/actions/{owned['action']}", headers=agent)).status_code == 200

    asyncio.run(main())


def test_each_tenant_reads_its_own_log_and_stops_its_own_agents(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, auditor, stranger = await it.agent(), await it.person("auditor"), await it.person("stranger")
            owned = await things(it, agent)
            theirs = await it.client.get("/v1/audit/entries", headers=stranger)
            assert theirs.status_code == 200, theirs.text
            for value in (owned["session"], owned["action"], owned["approval"], "checkout"):
                assert value not in theirs.text
            assert {entry["record"]["tenant"] for entry in theirs.json()["entries"]} <= {"acme"}
            ours = await it.client.get("/v1/audit/entries", params={"limit": 20}, headers=auditor)
            assert {entry["record"]["tenant"] for entry in ours.json()["entries"]} == {"default"}
            exported = await it.client.get("/v1/audit/export", headers=stranger)
            assert exported.status_code == 200
            assert (
                "acme"
                in (await it.client.get("/v1/audit/checkpoint", headers=stranger)).json()["checkpoint"].splitlines()[0]
            )
            # Their target is not ours: the same name in another tenant is unknown to them.
            unknown = await it.act(stranger, STATUS)
            assert unknown.status_code == 403
            pull = {"scope": "agent", "target": "dev:agent-1", "reason": "not mine"}
            assert (await it.client.post("/v1/kill", json=pull, headers={**stranger, **it.key()})).status_code in {
                200,
                403,
            }
            pull_all = {"scope": "tenant", "target": "", "reason": "mine"}
            assert (await it.client.post("/v1/kill", json=pull_all, headers={**stranger, **it.key()})).status_code in {
                200,
                403,
            }
            assert (await it.act(agent, STATUS, owned["session"])).status_code == 200, "our agent still runs"

    asyncio.run(main())


def test_a_key_gives_its_own_answer_to_its_own_party_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            key = it.key()
            first = await it.act(agent, STATUS, await it.session(agent), key=key)
            other_party = await it.act(oncall, STATUS, await it.session(oncall), key=key)
            assert first.status_code == other_party.status_code == 200
            assert first.json()["action_id"] != other_party.json()["action_id"]
            session = await it.session(agent)
            again = await it.act(agent, STATUS, session, key=key)
            assert (again.status_code, again.json()["code"]) == (422, "idempotency.key_reused"), (
                "another session is another payload"
            )

    asyncio.run(main())


def test_the_same_request_gets_its_stored_answer_and_another_payload_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            first = await it.act(agent, RESTART, session, env="staging", key=key)
            assert first.status_code == 200
            count = len(await it.records())
            for _ in range(3):
                again = await it.act(agent, RESTART, session, env="staging", key=key)
                assert again.json() == first.json()
            assert it.restarts() == 1
            assert len(await it.records()) == count, "a delivery again is no new event"
            for other in (
                await it.act(agent, RESTART, session, key=key),
                await it.act(agent, STATUS, session, env="staging", key=key),
                await it.act(agent, RESTART, session, {"x": 1}, env="staging", key=key),
            ):
                assert other.status_code in {400, 422}, other.text
            assert it.restarts() == 1
            missing = await it.act(agent, RESTART, session, env="staging", key={})
            assert (missing.status_code, missing.json()["code"]) == (400, "idempotency.key_required")
            for wrong in ("x" * 129, "a\tb", "schl\u00fcssel"):
                answer = await it.act(
                    agent,
                    STATUS,
                    session,
                    key={"Idempotency-Key": wrong.encode("latin-1").decode("latin-1")} if wrong.isascii() else {},
                )
                assert answer.status_code == (400 if wrong.isascii() else 200)

    asyncio.run(main())


def test_equal_requests_at_the_same_time_run_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            arrived, released = asyncio.Event(), asyncio.Event()
            restart = it.supervisor.restart

            async def held(child: Any, asked: Any) -> bytes:
                arrived.set()
                await released.wait()
                return await restart(child, asked)

            it.supervisor.restart = held  # type: ignore[method-assign]
            first = asyncio.create_task(it.act(agent, RESTART, session, env="staging", key=key))
            await arrived.wait()
            during = await asyncio.gather(*(it.act(agent, RESTART, session, env="staging", key=key) for _ in range(4)))
            assert {(answer.status_code, answer.json()["code"]) for answer in during} == {(409, "action.running")}
            state = await it.client.get(
                f"/v1/actions/{(await it.records())[-1]['body']['action']['id']}", headers=agent
            )
            assert state.status_code == 202
            released.set()
            assert (await first).status_code == 200
            it.supervisor.restart = restart  # type: ignore[method-assign]
            assert it.restarts() == 1
            key = it.key()
            burst = await asyncio.gather(*(it.act(agent, RESTART, session, env="staging", key=key) for _ in range(3)))
            assert min(answer.status_code for answer in burst) == 200
            assert {answer.status_code for answer in burst} <= {200, 409}
            assert it.restarts() == 2

    asyncio.run(main())
