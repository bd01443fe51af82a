"""Sessions, repetitions and what is refused before a message is read, over the Model Context Protocol."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey

from broker.clock import SeededClock
from tests.e2e.test_bound_tokens import believed
from tests.e2e.test_mcp_approvals import BRIEFLY, waiting
from tests.e2e.test_on_record_first import without
from tests.sim.issuer import Issuer, dpop_proof
from tests.sim.mcp_client import ACCEPT, LEGACY, MODERN, TARGET, Mcp
from tests.sim.sse import reading
from tests.sim.upstream import UpstreamSim, whole
from tests.sim.world import URL, World, world

STATUS = {"resource": TARGET}


async def sessions(it: World, action: str) -> list[str]:
    """Sessions of an action's intents on record, in order."""
    intents = [one for one in await it.records() if one["kind"] == "intent"]
    return [str(one["body"].get("session", "")) for one in intents if one["body"]["action"]["name"] == action]


def test_a_handshake_opens_a_session_of_the_gate_that_only_its_principal_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = Mcp(it, await it.agent(), LEGACY)
            said = await agent.hello()
            assert said["protocolVersion"] == LEGACY
            assert said["capabilities"] == {"tools": {"listChanged": True}}
            session = agent.headers["Mcp-Session-Id"]
            other = Mcp(it, await it.agent("agent-2"), LEGACY, headers={"Mcp-Session-Id": session})
            for thief in (other, Mcp(it, await it.person("oncall"), LEGACY, headers={"Mcp-Session-Id": session})):
                assert (await thief.post("tools/list")).status_code == 404
            named = Mcp(it, await it.agent("agent-2"), headers={"Wicketgate-Session": session})
            refused = await named.call("local_process_status", STATUS)
            assert refused["structuredContent"]["error"]["code"] == "session.not_found"
            assert not (await agent.call("local_process_status", STATUS))["isError"]
            ended = await it.client.delete("/mcp", headers={**agent.who, **agent.headers})
            assert ended.status_code == 200, ended.text
            assert (await agent.post("tools/list")).status_code == 404

    asyncio.run(main())


def test_without_a_session_calls_share_the_principals_own_and_a_closed_one_is_followed_by_a_fresh_one(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = Mcp(it, await it.agent())
            for _ in range(2):
                await agent.call("local_process_status", STATUS)
            own, again = await sessions(it, "local.process.status")
            assert own == again
            closed = await it.client.delete(f"/v1/sessions/{own}", headers={**agent.who, **it.key()})
            assert closed.status_code == 200, closed.text
            assert not (await agent.call("local_process_status", STATUS))["isError"]
            fresh = (await sessions(it, "local.process.status"))[-1]
            assert fresh != own
            # What the door opens is tainted from its first call on: what a client is for, nobody said.
            await agent.call("local_logs_search", {**STATUS, "arguments": {"window_seconds": 3600}})
            principal = await it.gate.identity.recognise(_credential(agent))
            assert (await it.gate.sessions.get(principal, fresh)).tainted
            assert await sessions(it, "local.logs.search") == [fresh]

    asyncio.run(main())


def test_who_may_not_open_a_session_still_has_what_needs_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for revision in (LEGACY, MODERN):
                auditor = Mcp(it, await it.person("auditor"), revision)
                if revision == LEGACY:
                    await auditor.hello()
                    assert "Mcp-Session-Id" not in auditor.headers
                before = len(await it.records())
                for _ in range(2):
                    answer = await auditor.call("gate_incidents_read", {})
                    assert not answer["isError"], answer
                refused = [one for one in (await it.records())[before:] if one["kind"] == "refusal"]
                assert len(refused) <= 1, "asked for once, not with every call"

    asyncio.run(main())


def test_a_no_of_one_moment_is_no_no_of_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            kill = {"scope": "agent", "target": "dev:agent-1", "reason": "look"}
            assert (await it.client.post("/v1/kill", json=kill, headers=person)).status_code == 200
            stopped = await agent.call("local_process_status", STATUS)
            assert stopped["structuredContent"]["error"]["code"] == "kill.stopped"
            security = {**await it.person("security"), **it.key()}
            assert (await it.client.post("/v1/kill/resume", json=kill, headers=security)).status_code == 200
            assert not (await agent.call("local_process_status", STATUS))["isError"]
            assert (await sessions(it, "local.process.status"))[-1].startswith("ses_")

    asyncio.run(main())


def test_a_standing_no_is_looked_at_anew_after_a_while(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor = Mcp(it, await it.person("auditor"))
            refused = []
            for wait in (0, 0, 61):
                it.clock.advance(wait)
                assert not (await auditor.call("gate_incidents_read", {}))["isError"]
                refused.append(len([one for one in await it.records() if one["kind"] == "refusal"]))
            assert refused == [1, 1, 2]

    asyncio.run(main())


def test_what_a_client_is_for_is_never_trusted_whoever_carries_the_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            person = Mcp(it, await it.person("oncall"), LEGACY)
            await person.hello()
            principal = await it.gate.identity.recognise(_credential(person))
            session = await it.gate.sessions.get(principal, person.headers["Mcp-Session-Id"])
            assert [(piece.kind, piece.trusted) for piece in session.intent] == [("client", False)]
            assert session.tainted

    asyncio.run(main())


def _credential(client: Mcp) -> Any:
    from broker.identity import Credential

    return Credential(authorization=client.who["Authorization"])


def test_a_repeated_write_is_the_same_one_where_that_is_certain(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            token, person = await it.agent(), await it.person("oncall")
            modern, older = Mcp(it, token), Mcp(it, token, LEGACY)
            await older.hello()
            other = {"resource": {**TARGET, "id": "inventory"}, "reason": "x"}
            params = {"name": "local_process_restart", "arguments": other}
            use = {"_meta": {"claudecode/toolUseId": "toolu_01"}}
            await modern.restart(**use)
            await older.ask("tools/call", params, id_="same")
            await _approved(it, token, person, 2)
            assert (it.restarts(), it.restarts("inventory")) == (1, 1)
            # One tool use of one model turn, and one request of one session.
            assert (await modern.restart(**use))["structuredContent"]["status"] == "done"
            again = await older.ask("tools/call", params, id_="same")
            assert again["result"]["structuredContent"]["status"] == "done"
            assert (it.restarts(), it.restarts("inventory")) == (1, 1)
            # Ids of other clients begin anew with each connection.
            for _ in range(2):
                await modern.ask("tools/call", params, id_=1)
                await _approved(it, token, person, 1)
            assert it.restarts("inventory") == 3
            own = {"_meta": {"wicketgate/idempotencyKey": "mine"}}
            await modern.restart(**own)
            reused = await modern.call("local_process_restart", other, **own)
            assert reused["structuredContent"]["error"]["code"] == "idempotency.key_reused"

    asyncio.run(main())


async def _approved(it: World, agent: dict[str, str], person: dict[str, str], count: int) -> None:
    """Approve what waits, and let it run."""
    for approval in await waiting(it, person, count):
        answer = await it.review(person, approval)
        assert answer.status_code == 200, answer.text
        ended = await it.outcome(agent, approval["action_id"])
        assert ended.json()["status"] == "done", ended.text


def test_a_model_that_asks_again_while_it_waits_asks_people_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            for use in ("toolu_01", "toolu_02"):
                await agent.restart(_meta={"claudecode/toolUseId": use})
            [approval] = await waiting(it, person)
            other = {"resource": {**TARGET, "id": "inventory"}, "reason": "x"}
            await agent.call("local_process_restart", other)
            assert len(await waiting(it, person)) == 2, "another target is another request"
            behalf = Mcp(it, await it.on_behalf(person))
            await behalf.restart()
            assert len(await waiting(it, person)) == 3, "so is another asker's"
            principal = await it.gate.identity.recognise(_credential(agent))
            kept = await it.gate.approvals.get(principal.tenant, approval["id"])
            place = (principal, kept.request["session"], kept.action)
            same = {"resource": TARGET, "arguments": kept.request["arguments"], "diagnosis": ""}
            assert (await it.gate.approvals.alike(*place, same)) is not None
            other_cause = {**same, "diagnosis": "dia_other"}
            assert (await it.gate.approvals.alike(*place, other_cause)) is None, "so is another diagnosis"
            assert (await it.review(person, approval)).status_code == 200
            ended = await it.outcome(agent.who, approval["action_id"])
            assert ended.json()["status"] == "done", ended.text
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_call_that_could_not_be_recorded_is_asked_afresh_by_whoever_calls_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            with without(it, "proposal"):
                refused = await agent.restart(_meta={"claudecode/toolUseId": "toolu_01"})
                assert refused["structuredContent"]["error"]["code"] == "audit.unavailable"
            [unasked] = await waiting(it, person)
            await agent.restart(_meta={"claudecode/toolUseId": "toolu_02"})
            [asked] = [one for one in await waiting(it, person, 2) if one["id"] != unasked["id"]]
            assert (await it.review(person, asked)).status_code == 200
            ended = await it.outcome(agent.who, asked["action_id"])
            assert ended.json()["status"] == "done", ended.text

    asyncio.run(main())


def test_what_two_readers_could_read_differently_is_refused_before_the_sdk_sees_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = {**await it.agent(), **ACCEPT, "Content-Type": "application/json"}
            call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"local_process_status","name":"x"}}'
            large = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"x": "y" * 1_100_000}})
            cases = [(call, 400), (b"[]", 400), (b"{", 400), (large.encode(), 413), (b'{"id":' + b"[" * 99, 400)]
            for body, status in cases:
                answer = await it.client.post("/mcp", content=body, headers=agent)
                assert answer.status_code == status, (body[:60], answer.text)

    asyncio.run(main())


def test_no_page_of_another_site_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra='[mcp]\norigins = ["https://inspector.example"]\n') as it:
            agent = Mcp(it, await it.agent())
            for origin, status in (
                ("http://localhost:8480", 200),
                ("https://inspector.example", 200),
                ("http://localhost:8480.evil.example", 403),
                ("null", 403),
                ("", 403),
            ):
                assert (await agent.post("tools/list", Origin=origin)).status_code == status, origin
            evil = {**agent.who, "Origin": "http://evil.example"}
            async with reading(it.app, "/mcp", evil) as reader:
                await reader.until(lambda r: r.ended)
                assert reader.status == 403

    asyncio.run(main())


def test_who_is_nobody_learns_where_to_sign_in_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for method in ("POST", "GET", "DELETE"):
                body: dict[str, Any] = (
                    {"json": {"jsonrpc": "2.0", "id": 1, "method": "ping"}} if method == "POST" else {}
                )
                answer: httpx.Response = await it.client.request(method, "/mcp", headers=ACCEPT, **body)
                assert answer.status_code == 401
                assert "resource_metadata=" in answer.headers["WWW-Authenticate"]

    asyncio.run(main())


def test_a_bound_tokens_proof_counts_once_though_its_first_call_opens_a_session(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer, key = Issuer(clock), ECKey.generate_key("P-256")
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, extra=believed(issuer, keys)) as it,
        ):
            token = issuer.token(issuer.agent_claims(cnf={"jkt": key.thumbprint()}))
            numbers = itertools.count(1)

            def shown() -> dict[str, str]:
                proof = dpop_proof(key, clock, token, "POST", URL + "/mcp", jti=f"proof-{next(numbers):04}")
                return {"Authorization": f"DPoP {token}", "DPoP": proof}

            agent = Mcp(it, shown())
            assert not (await agent.call("local_process_status", STATUS))["isError"]
            for method in ("tools/call", "tools/list", "ping", "subscriptions/listen"):
                params = {"name": "gate_actions_read"} if method == "tools/call" else {}
                assert (await agent.post(method, params)).status_code == 401, "the proof was used up"
            agent.who = shown()
            assert not (await agent.call("local_process_status", STATUS))["isError"]
            agent.who = {"Authorization": f"DPoP {token}"}
            stolen = await agent.post("tools/list")
            assert (stolen.status_code, "DPoP" in stolen.headers["WWW-Authenticate"]) == (401, True)

    asyncio.run(main())
