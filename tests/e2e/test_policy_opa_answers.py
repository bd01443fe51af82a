"""Servers that answer as no OPA should, behind the socket where the gate expects one."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from broker.errors import BadRequest, PolicyUnavailable
from broker.policy.delivery import BundleShelf
from broker.policy.engine import EngineInfo
from broker.policy.opa import OpaEngine
from tests.sim.opa_gate import Gate, bundle

Answering = Callable[[web.Request], Any]
PROVENANCE = {"version": "1.20.2", "bundles": {"broker": {"revision": "1"}}}
DENY = {
    "schema": "broker.decision/v1",
    "effect": "deny",
    "risk": {"tier": 4, "factors": []},
    "reasons": [{"code": "a.b", "rule": "c"}],
    "obligations": {},
    "advice": {},
}


@asynccontextmanager
async def answering(answer: Answering, **settings: Any) -> AsyncIterator[OpaEngine]:
    """An engine in front of a server that answers every question with ``answer``; it expects revision 1."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="wgopa", dir="/tmp") as folder:
        await web.UnixSite(runner, f"{folder}/s").start()
        gate = Gate(f"{folder}/s", BundleShelf(), **settings)
        gate.host.settled(bundle("1"))
        try:
            yield OpaEngine(gate.host, EngineInfo("opa", "1.20.2", "1", "digest"))
        finally:
            await gate.aclose()
            await runner.cleanup()


def reply(body: Any, status: int = 200, content_type: str = "application/json") -> Answering:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=raw, status=status, headers={"Content-Type": content_type})

    return answer


async def drop(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "500"})
    await response.prepare(request)
    await response.write(b'{"result"')
    assert request.transport
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"not json"), "policy.engine_error"),
        (reply(b"\xff\xfe"), "policy.engine_error"),
        (reply(b"<html>", content_type="text/html"), "policy.engine_error"),
        (reply([1]), "policy.engine_error"),
        (reply({"error": "secret 4111"}, 500), "policy.engine_error"),
        (reply({}, 400), "policy.engine_error"),
        (reply({}, 401), "policy.engine_error"),
        (reply({}, 503), "policy.engine_error"),
        (reply({}), "policy.no_result"),
        (reply({"provenance": PROVENANCE}), "policy.no_result"),
        (reply({"result": DENY}), "policy.wrong_revision"),
        (reply({"result": DENY, "provenance": {"bundles": {}}}), "policy.wrong_revision"),
        (reply({"result": DENY, "provenance": {"bundles": {"broker": {"revision": "2"}}}}), "policy.wrong_revision"),
        (reply({"result": DENY, "provenance": {"bundles": {"authz": {"revision": "1"}}}}), "policy.wrong_revision"),
        (reply({"result": DENY, "provenance": "1"}), "policy.wrong_revision"),
        (drop, "policy.engine_down"),
        (short, "policy.engine_down"),
    ],
    ids=[
        "text", "not utf-8", "html", "array", "500", "400", "401", "503", "empty", "no result", "no provenance",
        "no bundles", "other revision", "other bundle", "odd provenance", "dropped", "short body",
    ],
)  # fmt: skip
def test_every_answer_that_is_no_decision_has_its_own_refusal(run: Any, answer: Answering, code: str) -> None:
    async def main() -> None:
        async with answering(answer) as engine:
            with pytest.raises(PolicyUnavailable) as caught:
                await engine.decide(b"{}")
            assert caught.value.error_code == code
            assert "4111" not in caught.value.detail

    run(main())


def test_an_answer_that_does_not_come_is_given_up(run: Any) -> None:
    async def main() -> None:
        async with answering(hang, timeout_seconds=0.05) as engine:
            with pytest.raises(PolicyUnavailable) as caught:
                await engine.decide(b"{}")
            assert caught.value.error_code == "policy.engine_timeout"

    run(main())


def test_a_redirect_never_leaves_the_socket(run: Any) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/v1/data"})

    async def main() -> None:
        async with answering(elsewhere) as engine:
            with pytest.raises(PolicyUnavailable) as caught:
                await engine.decide(b"{}")
            assert caught.value.error_code.startswith("policy.engine_")

    run(main())
    assert asked


def test_the_question_on_the_wire_is_exactly_the_bytes_that_were_hashed(run: Any) -> None:
    seen: dict[str, Any] = {}

    async def note(request: web.Request) -> web.Response:
        seen.update(body=await request.read(), path=request.path_qs, headers=dict(request.headers))
        return web.json_response({"result": DENY, "provenance": PROVENANCE})

    async def main() -> None:
        async with answering(note) as engine:
            answer = await engine.decide('{"a":"é\\u2028","b":9007199254740991}'.encode())
            assert (json.loads(answer.value), answer.revision) == (DENY, "1")

    run(main())
    assert seen["body"] == '{"input":{"a":"é\\u2028","b":9007199254740991}}'.encode()
    assert seen["path"] == "/v1/data/broker/main/decision?provenance=true&strict-builtin-errors=true"
    assert "Authorization" not in seen["headers"]
    assert "Cookie" not in seen["headers"]


def test_an_old_opa_is_refused(run: Any) -> None:
    old = {"version": "1.20.0", "bundles": {"broker": {"revision": "2"}}}

    async def main() -> None:
        async with answering(reply({"result": DENY, "provenance": old})) as engine:
            with pytest.raises(BadRequest) as caught:
                await engine._host.load(bundle("2"))
            assert caught.value.error_code == "policy.engine_unfit"

    run(main())
