"""Searching the log, one record with what holds of it, and two checkpoints: in a whole gate."""

import asyncio
import base64
from pathlib import Path
from typing import Any

from audit.note import parse_vkey
from audit.verify import verify_proof
from tests.parts import fresh_database
from tests.sim.world import World, replica, world


async def _get(it: World, who: dict[str, str], path: str, **query: Any) -> dict[str, Any]:
    answer = await it.client.get(path, params=query, headers=who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def _traffic(it: World) -> str:
    """An agent looks, and is refused; returns its session."""
    agent = await it.agent()
    session = await it.session(agent)
    assert (await it.act(agent, "local.process.status", session)).status_code == 200
    assert (await it.act(agent, "local.process.restart", session, id_="nowhere")).status_code == 403
    return session


def test_records_are_found_by_who_what_when_and_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session = await _traffic(it)
            auditor = await it.person("auditor")
            search = "/v1/audit/search"
            by_name = await _get(it, auditor, search, principal="dev:agent-1", session=session)
            # What answers is found by what its request is found by.
            assert [(one["kind"], one["action"]) for one in by_name["lines"]] == [
                ("refusal", "local.process.restart"),
                ("outcome", "local.process.status"),
                ("intent", "local.process.status"),
            ]
            assert {one["name"] for one in by_name["lines"]} == {"dev:agent-1"}
            (refused,) = (await _get(it, auditor, search, code="risk.unknown"))["lines"]
            assert refused["effect"] == "deny"
            assert (await _get(it, auditor, search, resource="checkout", kinds="intent"))["lines"][0]["seq"]
            assert (await _get(it, auditor, search, principal="dev:nobody"))["lines"] == []
            now = it.clock.now_ns() // 10**9
            assert (await _get(it, auditor, search, since=now + 5))["lines"] == []
            everything = await _get(it, auditor, search, limit=200)
            assert everything["indexed"] <= everything["records"]
            assert [one["seq"] for one in everything["lines"]] == list(range(everything["indexed"]))[::-1]
            assert not any(
                one["action"].startswith("gate.audit") for one in (await _get(it, auditor, search, own=0))["lines"]
            )

    asyncio.run(main())


def test_the_default_window_is_a_week(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            it.clock.advance(8 * 86_400)
            auditor = await it.person("auditor")
            recent = await _get(it, auditor, "/v1/audit/search", action="local.process.status")
            whole = await _get(it, auditor, "/v1/audit/search", action="local.process.status", since=1)
            assert (len(recent["lines"]), len(whole["lines"])) == (0, 2)

    asyncio.run(main())


def test_actions_of_an_incidents_session_are_found_by_the_incident(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            alert = {"title": "slow", "service": "checkout", "env": "prod"}
            reported = await it.client.post("/v1/incidents", json=alert, headers=await it.agent("alerts-1"))
            incident = reported.json()["incident"]
            agent = await it.agent()
            claimed = await it.client.post(
                "/v1/work/claim", json={"kinds": ["incident"]}, headers={**agent, **it.key()}
            )
            held = claimed.json()
            body = {
                "session": held["session"],
                "action": "local.process.status",
                "resource": {"type": "process", "id": "checkout", "env": "prod"},
                "arguments": {},
                "reason": "look",
                "work": {"id": held["work"], "fence": held["fence"]},
            }
            answer = await it.client.post("/v1/actions", json=body, headers={**agent, **it.key()})
            assert answer.status_code == 200, answer.text
            found = await _get(it, await it.person("auditor"), "/v1/audit/search", incident=incident, limit=200)
            kinds = {(one["kind"], one["action"]) for one in found["lines"]}
            assert {("intent", "local.process.status"), ("outcome", "local.process.status")} <= kinds
            assert any(kind == "incident" for kind, _ in kinds)

    asyncio.run(main())


def test_the_index_made_anew_is_the_same_and_replicas_share_it(tmp_path: Path) -> None:
    async def main() -> None:
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)
        (tmp_path / "b").mkdir()
        async with world(tmp_path, store_url=url) as it, replica(it, tmp_path / "b") as other:
            await _traffic(it)
            await other.gate.background.aclose()
            await it.gate.background.aclose()  # so that neither takes up anything while the index is made anew
            await asyncio.gather(*(one.gate.log_index.catch_up("default") for one in (it, other) for _ in range(3)))
            said = {"since": 1, "until": 0, "kinds": [], "principal": "", "action": "", "resource": "", "effect": ""}
            said |= {"code": "", "tier": -1, "session": "", "incident": "", "own": True}
            said |= {"before": -1, "after": -1, "limit": 200}
            before = await it.gate.log_index.search("default", said)
            await other.gate.log_index.rebuild("default")
            again = await other.gate.log_index.search("default", said)
            size = int(str(before["indexed"]))
            assert again["lines"][-size:] == before["lines"]

    asyncio.run(main())


def test_a_records_page_recomputes_and_says_what_nobody_checked(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            auditor = await it.person("auditor")
            found = await _get(it, auditor, "/v1/audit/entries/2")
            verdicts = {one["property"]: one["verdict"] for one in found["checks"]}
            assert verdicts == {
                "leaf": "ok",
                "inclusion": "ok",
                "signer": "ok",
                "signing key": "not checked",
                "append-only": "not checked",
                "completeness": "not checked",
                "payload": "not checked",
            }
            # The same proof, with nothing but the pure files and the key of the data folder.
            key = parse_vkey((it.data / "log.vkey").read_text().strip())
            assert str(key) == found["vkey"]
            assert verify_proof(found["proof"].encode(), base64.b64decode(found["encoded"]), key).ok
            answer = await it.client.get("/v1/audit/entries/99999", headers=auditor)
            assert (answer.status_code, answer.json()["code"]) == (404, "audit.no_record")

    asyncio.run(main())


def test_a_kept_checkpoint_is_the_beginning_of_the_log_or_the_page_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor = await it.person("auditor")
            kept = (await _get(it, auditor, "/v1/audit/checkpoint"))["checkpoint"]
            await _traffic(it)
            found = await _get(it, auditor, "/v1/audit/consistency", older=kept)
            assert {one["property"]: one["verdict"] for one in found["checks"]} == {
                "older checkpoint": "ok",
                "newer checkpoint": "ok",
                "append-only": "ok",
                "signing key": "not checked",
            }
            assert found["older"]["size"] < found["newer"]["size"]
            # Another root under the same size: neither the signature nor the history fits.
            lines = kept.split("\n")
            lines[2] = base64.b64encode(b"x" * 32).decode()
            forged = await _get(it, auditor, "/v1/audit/consistency", older="\n".join(lines))
            verdicts = {one["property"]: one["verdict"] for one in forged["checks"]}
            assert (verdicts["older checkpoint"], verdicts["append-only"]) == ("failed", "failed")
            for wrong in ("", "x", kept.replace("default", "other", 1)):
                answer = await it.client.get("/v1/audit/consistency", params={"older": wrong}, headers=auditor)
                assert (answer.status_code, answer.json()["code"]) == (400, "audit.checkpoint")

    asyncio.run(main())
