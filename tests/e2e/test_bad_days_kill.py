"""The kill switch on bad days: who may, in which order, and that nothing which it stops begins or goes on."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from audit.sqlite import SqliteStore
from broker.clock import SeededClock
from broker.errors import StoreUnavailable
from broker.killswitch import POLL_SECONDS
from broker.obligations import GRANT_SECONDS
from broker.store.engine import Store, Timeouts
from tests.sim.model_server import Turn
from tests.sim.served import HOST, served
from tests.sim.upstream import Seen
from tests.sim.world import MODEL, World, world

RESTART = "local.process.restart"
STATUS = "local.process.status"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", answer.json().get("status", ""))


async def kill(it: World, who: Mapping[str, str], scope: str = "agent", target: str = "dev:agent-1") -> httpx.Response:
    return await it.client.post("/v1/kill", json={"scope": scope, "target": target, "reason": "a loop"}, headers=who)


async def resume(it: World, who: Mapping[str, str], scope: str, target: str = "") -> httpx.Response:
    body = {"scope": scope, "target": target, "reason": "mended"}
    return await it.client.post("/v1/kill/resume", json=body, headers={**who, **it.key()})


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the write lock."""
    other = sqlite3.connect(database, isolation_level=None, timeout=60)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a tenth of a second for a lock, not seconds: what happens then is the same."""
    monkeypatch.setattr(SqliteStore.__init__, "__kwdefaults__", {"busy_seconds": 0.1})
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "timeouts", Timeouts(lock_ms=100, statement_ms=1_000))


def test_everything_is_stopped_and_resumed_by_the_operators_people_with_the_role_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall, security = await it.agent(), await it.person("oncall"), await it.person("security")
            stranger = await it.person("stranger")
            session = await it.session(agent)
            assert code(await kill(it, oncall, "all", "")) == (403, "kill.role")
            assert code(await kill(it, stranger, "all", "")) == (403, "tenant.not_operator")
            assert code(await it.act(agent, STATUS, session)) == (200, "done")
            assert (await kill(it, security, "all", "")).status_code == 200
            assert code(await resume(it, oncall, "all")) == (403, "kill.role")
            assert code(await resume(it, stranger, "all")) == (403, "tenant.not_operator")
            assert code(await it.act(agent, STATUS, session)) == (403, "kill.stopped")
            assert (await resume(it, security, "all")).status_code == 200
            assert code(await it.act(agent, STATUS, session)) == (200, "done")
            assert (await kill(it, stranger, "tenant", "")).status_code == 200, "their own tenant is theirs"
            assert code(await it.act(agent, STATUS, session)) == (200, "done")

    asyncio.run(main())


@pytest.mark.parametrize("key", ["", "pull-0001"], ids=["another pull", "the same pull, sent again"])
def test_who_pulls_while_a_resume_is_being_put_on_record_wins_and_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall, security = await it.agent(), await it.person("oncall"), await it.person("security")
            oncall |= {"Idempotency-Key": key} if key else {}
            assert (await kill(it, oncall)).status_code == 200
            on_record = it.gate.records.kill

            async def meanwhile(principal: Any, verb: str, **told: Any) -> Any:
                done = await on_record(principal, verb, **told)
                if verb == "resume":
                    again = (await kill(it, oncall)).json()
                    assert (again["changed"], again["stopped"]) == (False, True)
                return done

            monkeypatch.setattr(it.gate.records, "kill", meanwhile)
            assert code(await resume(it, security, "agent", "dev:agent-1")) == (409, "kill.pulled_again")
            monkeypatch.undo()
            assert [one.target for one in await it.gate.kills.pulled("default")] == ["dev:agent-1"]
            assert code(await it.act(agent, STATUS)) == (403, "kill.stopped")
            kinds = [one["kind"] for one in await it.records() if "kill" in one["body"]]
            assert kinds == ["kill", "resume", *([] if key else ["kill"]), "refusal"]
            assert (await resume(it, security, "agent", "dev:agent-1")).status_code == 200
            assert await it.gate.kills.pulled("default") == ()
            assert (await resume(it, security, "agent", "dev:agent-1")).json()["changed"] is False
            assert len([one for one in await it.records() if "kill" in one["body"]]) == len(kinds) + 1


@pytest.mark.parametrize("happened", [False, True])
def test_a_resume_that_the_database_did_not_take_is_refused_on_record_and_one_that_it_took_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, happened: bool
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, security = await it.person("oncall"), await it.person("security")
            assert (await kill(it, oncall)).status_code == 200
            real = it.gate.kills.resume

            async def cut(*said: Any) -> bool:
                if happened:
                    await real(*said)
                raise StoreUnavailable

            monkeypatch.setattr(it.gate.kills, "resume", cut)
            answer = await resume(it, security, "agent", "dev:agent-1")
            assert answer.status_code == (200 if happened else 503), answer.text
            assert bool(await it.gate.kills.pulled("default")) is not happened
            records = [one for one in await it.records() if "kill" in one["body"]]
            assert [one["kind"] for one in records] == ["kill", "resume", *([] if happened else ["refusal"])]
            if not happened:
                assert records[-1]["body"]["error"] == "store.unavailable"
                assert records[-1]["id"] == f"{records[-2]['id']}.refusal"

    asyncio.run(main())


def test_a_pull_is_on_record_before_it_stops_and_a_refused_pull_is_on_record_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            # Two in one nanosecond of the clock, and again: each has a record of its own.
            answers = [await kill(it, oncall), await kill(it, oncall)]
            assert [(answer.status_code, answer.json()["changed"]) for answer in answers] == [(200, True), (200, False)]
            auditor = await kill(it, await it.person("auditor"))
            assert code(auditor) == (403, "kill.role")
            assert code(await kill(it, agent, "tenant", "")) == (403, "kill.role")
            records = [one for one in await it.records() if "kill" in one["body"]]
            assert [(one["kind"], one["body"].get("error")) for one in records] == [
                ("kill", None),
                ("kill", None),
                ("refusal", "kill.role"),
                ("refusal", "kill.role"),
            ]
            assert [answer.json()["receipt"]["seq"] for answer in [*answers, auditor]] == [
                one["seq"] for one in records[:3]
            ]
            stranger = await it.person("stranger")
            assert (await kill(it, stranger, "all", "")).status_code == 403
            assert [one["body"]["error"] for one in await it.records("acme")] == ["tenant.not_operator"]

    asyncio.run(main())


@pytest.mark.usefixtures("impatient")
def test_a_pull_that_cannot_be_recorded_or_stored_says_so_and_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session = await it.session(agent)
            with locked(it.data / "audit.db"):
                assert code(await kill(it, oncall)) == (503, "audit.unavailable")
            for _ in range(1_200):
                if (answer := await it.act(agent, STATUS, session)).status_code == 200:
                    break
                assert code(answer) == (503, "audit.unavailable")
                await asyncio.sleep(0.05)
            assert code(answer) == (200, "done"), "the answer was true: nothing was stopped"
            with locked(it.data / "gate.db"):
                failed = await kill(it, oncall)
            assert code(failed) == (503, "kill.not_pulled")
            assert code(await it.act(agent, STATUS, session)) == (200, "done")
            kinds = [(one["kind"], one["body"].get("error")) for one in await it.records() if "kill" in one["body"]]
            assert kinds == [("kill", None), ("refusal", "kill.not_pulled")]
            assert (await kill(it, oncall)).json()["changed"] is True
            assert code(await it.act(agent, STATUS, session)) == (403, "kill.stopped")

    asyncio.run(main())


def test_a_session_of_somebody_else_is_refused_on_record_but_not_in_that_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            theirs = await it.session(oncall)
            answer = await it.act(agent, STATUS, theirs)
            assert code(answer) == (404, "session.not_found")
            last = (await it.records())[-1]
            assert (last["kind"], last["body"]["error"]) == ("refusal", "session.not_found")
            assert answer.json()["receipt"]["seq"] == last["seq"]
            assert theirs not in json.dumps(last)

    asyncio.run(main())


def test_stopping_a_person_stops_the_agents_that_act_for_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            alone, oncall, security = await it.agent(), await it.person("oncall"), await it.person("security")
            for_oncall = await it.on_behalf(oncall)
            body = {"intent": [{"kind": "task", "text": "look", "source": "test"}], "agent": "dev:agent-1"}
            opened = await it.client.post("/v1/sessions", json=body, headers={**oncall, **it.key()})
            named = opened.json()["session"]
            asked = [
                (for_oncall, await it.session(for_oncall)),
                (alone, named),
                (alone, await it.session(alone)),
            ]
            assert [code(await it.act(who, STATUS, session))[1] for who, session in asked] == ["done"] * 3
            assert (await kill(it, security, target="dev:oncall")).status_code == 200
            assert [code(await it.act(who, STATUS, session))[1] for who, session in asked] == [
                "kill.stopped",
                "kill.stopped",
                "done",
            ]

    asyncio.run(main())


async def approved(it: World) -> tuple[dict[str, str], str]:
    """A restart that a person approved a moment ago; the agent and the action's id."""
    agent = await it.agent()
    waiting = (await it.act(agent, RESTART, await it.session(agent))).json()
    assert (await it.review(await it.person("security"), waiting["approval"])).status_code == 200
    return agent, waiting["action_id"]


async def refused_at_the_last_moment(it: World, agent: Mapping[str, str], action: str, why: str) -> None:
    """The approved restart did not begin, and the record says why."""
    answer = await it.outcome(agent, action)
    assert answer.status_code == 403, answer.text
    assert it.restarts() == 0
    records = [one for one in await it.records() if one["body"].get("action", {}).get("id") == action]
    assert [one["kind"] for one in records] == ["proposal", "refusal"]
    assert records[-1]["body"]["error"] == why
    assert (
        await it.gate.store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM lease WHERE holder != ''").scalar())
        == 0
    )


def test_an_agent_that_is_stopped_while_its_write_is_planned_does_not_begin_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, answer = await it.person("oncall"), it.supervisor.server.answer
            looks = 0

            async def slow(seen: Seen, writer: asyncio.StreamWriter) -> None:
                """The first look is the proposal's plan, the second the approved request's own."""
                nonlocal looks
                looks += seen.method == "GET"
                if looks == 2:
                    assert (await kill(it, oncall)).status_code == 200
                await answer(seen, writer)

            it.supervisor.server.answer = slow
            await refused_at_the_last_moment(it, *await approved(it), "kill.stopped")
            assert looks == 2

    asyncio.run(main())


class Late(SeededClock):
    """A minute passes as soon as the approval is redeemed: between the grant and the intent."""

    gate: Path | None = None

    def now_ns(self) -> int:
        if self.gate is not None:
            with contextlib.closing(sqlite3.connect(self.gate)) as database:
                if database.execute("SELECT 1 FROM proposal WHERE state = 'executing'").fetchone():
                    self.gate = None
                    self.advance(GRANT_SECONDS)
        return super().now_ns()


def test_a_grant_that_ran_out_before_its_intent_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Late()
        async with world(tmp_path, clock=clock) as it:
            clock.gate = it.data / "gate.db"
            await refused_at_the_last_moment(it, *await approved(it), "grant.expired")
            assert clock.gate is None

    asyncio.run(main())


def test_a_model_stream_ends_within_a_second_of_the_stop(tmp_path: Path) -> None:
    async def main() -> None:
        said = "first look at the error rate of checkout; " * 60
        async with world(tmp_path, turns=[Turn(said, hang_after=150)]) as it, served(it.app) as port:
            agent, oncall = await it.agent(), await it.person("oncall")
            session = await it.session(agent)
            call: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "stream": True}
            body = json.dumps({**call, "messages": [{"role": "user", "content": "what now?"}]}).encode()
            head = [
                b"POST /llm/anthropic/v1/messages HTTP/1.1",
                b"Host: " + HOST,
                b"Content-Type: application/json",
                b"Content-Length: %d" % len(body),
                b"Authorization: " + agent["Authorization"].encode(),
                b"Wicketgate-Session: " + session.encode(),
            ]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
            await reader.readuntil(b"text_delta")
            it.models.server.closed.clear()
            assert (await kill(it, oncall)).status_code == 200
            it.clock.advance(POLL_SECONDS)
            async with asyncio.timeout(90):
                rest = b""
                while b"event: error" not in rest:
                    rest = rest[-1_000:] + (await reader.read(65_536) or pytest.fail(f"{rest[-300:]!r}"))
                await it.models.server.closed.wait()
            assert b"message_stop" not in rest
            writer.close()
            outcome = (await it.records())[-1]
            assert (
                outcome["body"]["outcome"] | {"status": "partial", "code": "kill.pulled"} == outcome["body"]["outcome"]
            )

    asyncio.run(main())
