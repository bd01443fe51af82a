"""Bad days on the way in: strangers who want the gate's time and memory, and callers who ask too much."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Match, Mount

from broker.clock import SeededClock, SystemClock
from broker.config import WebSettings
from broker.identity import Credential, Verifier
from broker.telemetry import Telemetry
from broker.web import schemas
from broker.web.app import DESCRIPTION, PROVIDER, Health
from broker.web.guard import Guard, GuardSettings
from broker.web.problem import problem
from broker.web.routes import ROUTES, Route, Table
from tests.sim.issuer import Issuer
from tests.sim.served import exchange, request, served, status_of
from tests.sim.world import MODEL, world

JSON_TYPE = b"Content-Type: application/json"
TYPED = {"Content-Type": "application/json"}
STATUS = {"action": "local.process.status", "resource": {"type": "process", "id": "checkout", "env": "prod"}}
BODIED = [route for route in ROUTES if route.method == "POST" and not route.path.startswith("/console/")]
"""Forms of the console are small, and their strangers are led to the sign-in: tests/e2e/console."""


def concrete(route: Route) -> str:
    return route.path.replace("{id}", "x").replace("{seq}", "0")


class Body:
    """A body that counts the bytes that were taken of it."""

    def __init__(self, size: int) -> None:
        self.taken = 0
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(0, self._size, 65_536):
            self.taken += 65_536
            yield b" " * 65_536


# -- before the token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "Bearer nonsense", "Basic eDp5", "forged"])
def test_nothing_of_a_strangers_body_is_read_on_any_route(tmp_path: Path, token: str) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            valid = (await it.agent())["Authorization"]
            shown = valid[:-6] + ("A" if valid[-6] != "A" else "B") + valid[-5:] if token == "forged" else token
            who = {"Authorization": shown} if shown else {}
            taken = {}
            for route in BODIED:
                body = Body(1_048_576)
                answer = await it.client.post(concrete(route), content=body, headers={**who, **TYPED})
                assert answer.status_code == 401, (route.path, answer.text)
                taken[route.path] = body.taken
                assert ("wicketgate" in answer.json()) == (route.wire == "provider"), answer.text
            assert set(taken.values()) == {0}
            # The counter counts: a caller who is known is read.
            body = Body(1_048_576)
            await it.client.post("/v1/actions", content=body, headers={"Authorization": valid, **TYPED})
            assert body.taken == 1_048_576

    asyncio.run(main())


def test_a_stranger_who_sends_nothing_more_is_answered_at_once(tmp_path: Path) -> None:
    """On a socket: the refusal does not wait for the body's deadline."""

    async def main() -> None:
        async with world(tmp_path, extra="[web]\nbody_seconds_max = 3600\n") as it, served(it.app) as port:
            for path in (b"/v1/actions", b"/v1/kill", b"/v1/approvals/x/reviews", b"/llm/anthropic/v1/messages"):
                sent = request(b"POST", path, JSON_TYPE, b"Content-Length: 60000", body=b"{")
                assert status_of(await exchange(port, sent)) == 401

    asyncio.run(main())


def test_only_the_exact_model_routes_take_a_large_body(tmp_path: Path) -> None:
    sent = b'{"a":"' + b"x" * 1_048_576 + b'"}'
    large = {"/llm/anthropic/v1/messages", "/llm/anthropic/v1/messages/count_tokens"}

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            for route in BODIED:
                answer = await it.client.post(concrete(route), content=sent, headers={**agent, **TYPED})
                assert answer.status_code == (400 if route.path in large else 413), (route.path, answer.text)
            for path in ("/llm/", "/llm/x", "/llm/anthropic/v1/messages/", "/llm/anthropic/v1/messages/x", "/llm"):
                body = Body(33_554_432)
                answer = await it.client.post(path, content=body, headers={**agent, **TYPED})
                assert (answer.status_code, body.taken) == (404, 0), path
            body = Body(4_194_304)
            models = await it.client.request(
                "GET", "/llm/anthropic/v1/models", content=body, headers={**agent, **TYPED}
            )
            assert (models.status_code, body.taken) == (413, 0)

    asyncio.run(main())


def test_a_body_of_too_many_values_is_refused_however_small_each_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            many = b'{"a":[' + b",".join([b"[]"] * 300_000) + b"]}"
            for path in ("/v1/actions", "/llm/anthropic/v1/messages"):
                answer = await it.client.post(path, content=many, headers={**agent, **TYPED})
                said = answer.json()
                assert answer.status_code == 413
                assert said.get("code", said.get("wicketgate", {}).get("code")) == "json.too_many_values"

    asyncio.run(main())


def test_the_loop_goes_on_while_a_large_body_is_parsed() -> None:
    """Counted in turns of the loop, not in seconds: parsing in the loop leaves it none."""

    async def turns(data: bytes) -> int:
        reading = asyncio.create_task(schemas.read_object(data, WebSettings(), model_call=True))
        count = 0
        while not reading.done():
            count += 1
            await asyncio.sleep(0)
        await reading
        return count

    large = b'{"a":[' + b",".join([b"[1]"] * 90_000) + b'],"b":"' + b"x" * 8_000_000 + b'"}'
    small = b'{"a":[' + b",".join([b"[1]"] * 1_000) + b"]}"
    assert asyncio.run(turns(large)) > 5
    assert asyncio.run(turns(small)) <= 2


# -- the table ------------------------------------------------------------------------------------------------------

PATHS = [
    *(concrete(route) for route in ROUTES),
    *(concrete(route) + "/" for route in ROUTES),
    *(
        "/v1/kill/x",
        "/v1/kills",
        "/v1/approvalsx",
        "/v1/approvals/x/y",
        "/v1/approvals/x/reviews/y",
        "/livezz",
        "/readyz/x",
    ),
    *("/dev-idp", "/dev-idp/", "/dev-idp/token", "/dev-idp/x/y", "/dev-idpx", "/openapi.json", "/", "/v1", "/V1/kill"),
    *("/v1/approvals/\n", "/v1/kill\n", "/v1/actions/a b", "/v1/actions/\u00e9"),
]


def test_the_guard_finds_the_route_that_the_router_finds(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            guard: Any = it.app
            for path in PATHS:
                for method in ("GET", "POST", "DELETE"):
                    scope: Any = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
                    behind = [one for one in guard._app._app.routes if one.matches(scope)[0] is Match.FULL][:1]
                    wanted = [PROVIDER.path if isinstance(one, Mount) else one.path for one in behind]
                    route, _ = guard._table.find(method, path)
                    assert ([route.path] if route else []) == wanted, (method, path)

    asyncio.run(main())


def test_the_controls_are_the_routes_that_say_so_and_no_neighbours() -> None:
    table = Table((*ROUTES, DESCRIPTION))
    control = {
        (route.method, route.path)
        for route in ROUTES
        if route.lane == "control" and not route.path.startswith(("/console/inbox", "/console/agents"))
    }
    assert control == {
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("POST", "/v1/kill"),
        ("POST", "/v1/kill/resume"),
        ("POST", "/v1/webhooks/alertmanager"),
        ("POST", "/v1/incidents"),
        ("GET", "/v1/approvals"),
        ("GET", "/v1/approvals/{id}"),
        ("POST", "/v1/approvals/{id}/reviews"),
        ("POST", "/v1/approvals/{id}/acknowledgements"),
        ("GET", "/v1/breakglass"),
        ("POST", "/v1/breakglass"),
        ("POST", "/v1/breakglass/{id}/confirm"),
        ("POST", "/v1/breakglass/{id}/end"),
        ("POST", "/v1/breakglass/{id}/review"),
    }
    for path in ("/livezz", "/readyz/x", "/v1/kills", "/v1/kill/x", "/v1/approvals/x/y", "/v1/approvalsx"):
        assert table.find("GET", path) == (None, ())


def test_a_full_gate_turns_away_the_neighbours_of_the_controls(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[web]\nconcurrent_requests_max = 0\n") as it:
            for path in ("/livez", "/readyz"):
                assert (await it.client.get(path)).status_code == 200
            assert (await it.client.get("/v1/approvals")).status_code == 401
            for path in ("/v1/policies", "/v1/agents", "/metrics"):
                assert (await it.client.get(path)).json()["code"] == "gate.overloaded", path
            for path in ("/v1/approvals/x/y", "/v1/killx", "/livez/x"):
                assert (await it.client.get(path)).json()["code"] == "http.no_route", path

    asyncio.run(main())


def test_other_methods_are_405_on_every_path_and_name_those_that_it_takes(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            before = len(await it.records())
            for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "CONNECT", "get"):
                for route in (*ROUTES, DESCRIPTION):
                    answer = await it.client.send(asked(method, concrete(route), agent))
                    assert answer.status_code == 405, (method, route.path)
                    assert route.method in answer.headers["allow"].split(", ")
            assert len(await it.records()) == before

    asyncio.run(main())


def asked(method: str, path: str, who: Mapping[str, str]) -> Any:
    """A request whose method is spelt as given."""
    made = httpx.Request("GET", "http://localhost:8480" + path, headers=dict(who))
    made.method = method
    return made


@pytest.mark.parametrize("kind", ["websocket", "webtransport", ""])
def test_what_is_no_http_request_is_closed_and_reaches_nothing(kind: str) -> None:
    async def main() -> None:
        async def nothing(*_: Any) -> Any:
            raise AssertionError("it reached the application")

        async def unasked(_: Any) -> None:
            raise AssertionError("it was asked for a token")

        guard = Guard(
            nothing,
            GuardSettings(WebSettings(), frozenset({b"localhost"})),
            Table(ROUTES),
            authenticate=unasked,
            refuse=lambda _, error: problem(error),
            telemetry=Telemetry(SystemClock().monotonic),
        )
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await guard({"type": kind, "path": "/livez", "headers": []}, nothing, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]

    asyncio.run(main())


# -- readiness ------------------------------------------------------------------------------------------------------


def test_readiness_is_looked_at_once_a_second_and_once_at_a_time() -> None:
    async def main() -> None:
        clock, looks, let_go = SeededClock(), [0], asyncio.Event()

        async def ready() -> dict[str, str]:
            looks[0] += 1
            await let_go.wait()
            return {} if looks[0] == 1 else {"log": "gone"}

        health = Health(ready, clock, Telemetry(clock.monotonic))
        asking = [asyncio.create_task(health.readyz(None)) for _ in range(50)]  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
        assert looks == [1]
        let_go.set()
        assert {(await one).status_code for one in asking} == {200}
        clock.advance(0.9)
        assert (await health.readyz(None)).status_code == 200  # type: ignore[arg-type]
        assert looks == [1]
        clock.advance(0.1)
        assert (await health.readyz(None)).status_code == 503  # type: ignore[arg-type]
        assert looks == [2]

    asyncio.run(main())


def test_asking_for_readiness_again_and_again_writes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await it.gate.background.aclose()  # so that nobody writes but who asks
            assert (await it.client.get("/readyz")).status_code == 200

            def state() -> dict[str, bytes]:
                return {path.name: path.read_bytes() for path in it.data.glob("audit.db*")}

            before = state()
            answers = await asyncio.gather(*[it.client.get("/readyz") for _ in range(50)])
            assert {answer.status_code for answer in answers} == {200}
            assert state() == before
            # The probe is a write, or the above would hold without the cache.
            it.clock.advance(1)
            await it.client.get("/readyz")
            assert state() != before

    asyncio.run(main())


# -- too many attempts ----------------------------------------------------------------------------------------------

FEW = "[web]\nattempts_per_minute_max = 60\nattempts_burst_max = 10\n"


def test_refusals_cannot_fill_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=FEW) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            before = len(await it.records())
            answers = [await it.client.get("/v1/policies", headers=agent) for _ in range(40)]
            assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 30
            assert {answer.json()["code"] for answer in answers[10:]} == {"limit.attempts"}
            assert {answer.headers["retry-after"] for answer in answers[10:]} == {"1"}
            # One record stands for all of them, and its receipt goes with the first.
            kept = [record["body"].get("error") for record in (await it.records())[before:]]
            assert kept[10:] == ["limit.attempts"]
            assert [index for index, answer in enumerate(answers) if "receipt" in answer.json()] == list(range(11))
            shown = await it.client.get("/metrics")
            assert "wicketgate_attempts_refused_total 30.0" in shown.text
            # Others are not slowed by it, and neither is a party that waits.
            assert (await it.client.get("/v1/policies", headers=oncall)).status_code != 429
            it.clock.advance(1)
            assert (await it.client.get("/v1/policies", headers=agent)).status_code == 403
            it.clock.advance(60)
            later = len(await it.records())
            for _ in range(40):
                last = await it.client.get("/v1/policies", headers=agent)
            assert last.status_code == 429
            assert [record["body"].get("error") for record in (await it.records())[later:]][10:] == ["limit.attempts"]

    asyncio.run(main())


def test_attempts_are_counted_on_every_door_of_the_path(tmp_path: Path) -> None:
    """Also where the request itself would be wrong, and on the model's wire, in its own form."""

    async def main() -> None:
        async with world(tmp_path, extra=FEW) as it:
            agent = await it.agent()
            for _ in range(10):
                assert (await it.act(agent, "no.such.action", "ses_none")).status_code == 404
            body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
            for stream in (False, True):
                answer = await it.client.post(
                    "/llm/anthropic/v1/messages", json={**body, "stream": stream}, headers=agent
                )
                assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
            assert (await it.client.get("/v1/actions", headers=agent)).status_code == 429

    asyncio.run(main())


# -- defects of ours ------------------------------------------------------------------------------------------------


def test_a_defect_in_reading_refuses_on_record_and_says_nothing_of_itself(tmp_path: Path) -> None:
    """A row that the gate would never write: its session breaks in step 2, and only for those who name it."""

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            with sqlite3.connect(it.data / "gate.db") as rows:
                rows.execute(
                    "UPDATE session SET intent = ? WHERE id = ?",
                    (b'[{"kind":"task","text":5,"source":"","author":"x","trusted":true}]', session),
                )
            before = len(await it.records())
            read = await it.act(agent, "local.logs.search", session, {"window_seconds": 60, "pattern": "secret-word"})
            assert (read.status_code, read.json()["code"]) == (500, "gate.failed")
            assert "int" not in read.json()["detail"]
            assert "secret-word" not in read.text
            assert [one["body"].get("error") for one in (await it.records())[before:]] == ["gate.failed"]
            assert read.json()["receipt"]["seq"] == before
            body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}], "stream": True}
            for stream in (False, True):
                call = await it.client.post(
                    "/llm/anthropic/v1/messages",
                    json={**body, "stream": stream},
                    headers={**agent, "Wicketgate-Session": session},
                )
                assert (call.status_code, call.json()["wicketgate"]["code"]) == (500, "gate.failed")
            assert len(await it.records()) == before + 3
            assert it.models.seen == []
            metrics = (await it.client.get("/metrics")).text
            assert 'wicketgate_crashes_total{place="pipeline"} 3.0' in metrics
            assert (await it.act(agent, "local.process.status", await it.session(agent))).status_code == 200

    asyncio.run(main())


class Broken:
    """A connector of somebody else's with a defect."""

    name = "local"

    def endpoint(self, _: Any) -> Any:
        return {"region": 1 // 0}


def test_a_defect_in_gathering_facts_refuses_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            connectors: Any = it.gate.connectors
            whole, connectors["local"] = connectors["local"], Broken()
            before = len(await it.records())
            failed = await it.act(agent, "local.process.status", session)
            connectors["local"] = whole
            assert (failed.status_code, failed.json()["code"]) == (500, "gate.failed")
            assert "division" not in failed.text
            (kept,) = (await it.records())[before:]
            assert (kept["kind"], kept["body"]["error"]) == ("refusal", "gate.failed")
            assert kept["body"]["action"]["name"] == "local.process.status"

    asyncio.run(main())


# -- the first administrator ----------------------------------------------------------------------------------------


def test_the_first_administrator_of_the_configuration_may_what_security_may(tmp_path: Path) -> None:
    """A person whose token has no role at all; the agent and everybody else named likewise get nothing."""
    named = '[identity]\nfirst_administrators = ["dev:oncall", "dev:agent-1"]\n'

    async def main(extra: str, folder: Path) -> list[int]:
        async with world(folder, extra=extra) as it:
            asked: list[int] = []
            for who in (await it.person("oncall"), await it.agent(), await it.person("auditor")):
                body = {"digest": "a" * 64, "reason": "why"}
                rollback = await it.client.post("/v1/policies/rollback", json=body, headers={**who, **it.key()})
                kill = {"scope": "all", "reason": "why"} if not asked else {"scope": "tenant", "reason": "why"}
                asked += [rollback.status_code, (await it.client.post("/v1/kill", json=kill, headers=who)).status_code]
            return asked

    for name in ("without", "given"):
        (tmp_path / name).mkdir()
    assert asyncio.run(main("", tmp_path / "without")) == [403, 403, 403, 403, 403, 403]
    # What security asks for waits for another person, as ever; the kill switch needs the role alone.
    assert asyncio.run(main(named, tmp_path / "given")) == [202, 200, 403, 403, 403, 403]


def test_an_agent_for_the_first_administrator_is_bounded_by_its_own_roles() -> None:
    issuer = Issuer(SeededClock())
    verifier = Verifier([issuer.profile()], issuer.fetch, issuer.clock, administrators=["corp:alice", "corp:agent-1"])
    claims = issuer.claims(client_id="agent-1", act={"sub": "agent-1", "groups": ["bots"]})
    who = asyncio.run(verifier.authenticate(Credential(f"Bearer {issuer.token(claims)}")))
    assert "security" in who.subject.roles
    assert who.actor is not None
    assert who.actor.roles == {"agent"}
    alone = asyncio.run(verifier.authenticate(Credential(f"Bearer {issuer.token(issuer.agent_claims())}")))
    assert alone.subject.roles == {"agent"}
