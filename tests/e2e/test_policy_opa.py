"""OPA as the engine: a real server with the files of deploy/opa, and servers that answer as no OPA should."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import SeededClock
from broker.errors import BadRequest, PolicyUnavailable
from broker.policy.activations import ActivationFiles
from broker.policy.bundle import Bundle, build_bundle
from broker.policy.decision import canonical_answer
from broker.policy.delivery import BundleShelf
from broker.policy.engine import EngineInfo
from broker.policy.keys import SigningKey
from broker.policy.opa import OpaEngine, OpaHost, OpaSettings
from broker.policy.pdp import PolicyDecisionPoint
from broker.policy.regorus import Bounds, RegorusHost
from tests.parts import ROOT, require
from tests.sim.opa import RunningOpa, running_opa

TINY = ROOT / "tests" / "unit" / "policy" / "fixtures" / "tiny"
KEY = SigningKey("team", Ed25519PrivateKey.generate())
PATIENT = 5.0
"""Seconds for a decision where the test is about something else than time: the machine may be busy."""


def ask(*roles: str, action: str = "shop.orders.read") -> dict[str, Any]:
    return {
        "schema": "broker.input/v1",
        "subject": {"id": "dev:anna", "roles": list(roles)},
        "action": {"name": action, "effect": "read", "properties": {"arguments": {}}},
        "context": {"now_s": 1_767_225_600},
    }


def bundle(revision: str, folder: Path = TINY) -> Bundle:
    return build_bundle(folder, KEY, revision)


class Gate:
    """A decision point whose engine is OPA."""

    def __init__(self, socket: str, shelf: BundleShelf, **settings: Any) -> None:
        self.state = tempfile.TemporaryDirectory()
        self.shelf = shelf
        chosen = OpaSettings(socket, **{"timeout_seconds": PATIENT, "load_seconds": 30.0, **settings})
        self.host = OpaHost(chosen, shelf, RegorusHost(Bounds(workers=1, cpu_seconds=1.0, wall_seconds=30.0)))
        self.pdp = PolicyDecisionPoint(
            signers={KEY.id: KEY.public},
            rows=ActivationFiles(Path(self.state.name)),
            host=self.host,
            clock=SeededClock(),
        )

    async def activate(self, made: Bundle) -> None:
        await self.pdp.activate(made.archive, made.signature, by="dev:anna")

    async def code(self, question: dict[str, Any] | None = None) -> str:
        with pytest.raises(PolicyUnavailable) as caught:
            await self.pdp.decide(question or ask("oncall"))
        return caught.value.error_code

    async def aclose(self) -> None:
        await self.pdp.aclose()
        self.state.cleanup()


@asynccontextmanager
async def gate_with_opa() -> AsyncIterator[tuple[Gate, RunningOpa]]:
    require("opa")
    shelf = BundleShelf()
    async with running_opa(shelf, KEY) as opa:
        gate = Gate(opa.socket, shelf)
        try:
            yield gate, opa
        finally:
            await gate.aclose()


def test_opa_decides_with_the_bundle_that_the_gate_serves_and_follows_each_activation(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, _):
            assert await gate.code() == "policy.not_loaded"
            for revision in ("1", "2", "3-c"):
                await gate.activate(bundle(revision))
                decision = await gate.pdp.decide(ask("oncall"))
                assert (decision.effect, decision.policy_revision) == ("permit", revision)
                assert decision.engine == "opa 1.20.2"
                assert (await gate.pdp.decide(ask("nobody"))).effect == "deny"

    run(main())


def test_a_stopped_opa_denies_and_a_restarted_one_decides_from_its_own_disk(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            opa.stop()
            assert await gate.code() == "policy.engine_down"
            gate.shelf.publish(None)
            await opa.start()
            # The pooled connection of the dead server is used up by one retry; the bundle comes from disk.
            decision = await until(lambda: gate.pdp.decide(ask("oncall")))
            assert (decision.effect, decision.policy_revision) == ("permit", "1")

    run(main())


def test_an_answer_that_came_while_the_gate_itself_was_busy_is_taken(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            hasty = Gate(opa.socket, gate.shelf, timeout_seconds=0.5)
            hasty.host.settled(bundle("1"))
            question = json.dumps(ask("oncall")).encode()
            await hasty.host.ask(question, "1")
            asked = asyncio.ensure_future(hasty.host.ask(question, "1"))
            await asyncio.sleep(0)
            time.sleep(1)  # noqa: ASYNC251 - other work holds the loop for longer than OPA may take
            assert (await asked).revision == "1"
            await hasty.aclose()

    run(main())


def test_a_frozen_opa_denies_by_timeout_and_recovers(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            slow = Gate(opa.socket, gate.shelf, timeout_seconds=0.05)
            slow.host.settled(bundle("1"))
            opa.suspend()
            try:
                with pytest.raises(PolicyUnavailable) as caught:
                    await slow.host.ask(b"{}", "1")
            finally:
                opa.resume()
            assert caught.value.error_code == "policy.engine_timeout"
            assert (await gate.pdp.decide(ask("oncall"))).effect == "permit"
            await slow.aclose()

    run(main())


def test_an_opa_with_another_revision_is_not_believed(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            # Somebody else serves OPA a bundle that is signed, but that this gate never activated.
            shelf_of_another = Gate(opa.socket, gate.shelf)
            await shelf_of_another.activate(bundle("9"))
            assert await gate.code() == "policy.wrong_revision"
            await shelf_of_another.aclose()

    run(main())


async def refused_by_opa(gate: Gate, opa: RunningOpa, made: Bundle, why: str) -> None:
    """OPA says ``why`` it does not load ``made``, and the gate takes it back each time that OPA was offered it."""
    hasty = Gate(opa.socket, gate.shelf, load_seconds=2.0)
    hasty.host.settled(bundle("1"))
    for _ in range(30):  # a busy OPA may not have looked in so short a time
        with pytest.raises(PolicyUnavailable, match="did not load revision `2`"):
            await hasty.host.load(made)
        if why in opa.messages:
            break
    assert why in opa.messages
    await hasty.aclose()


def test_opa_refuses_what_the_signer_did_not_sign(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            stranger = build_bundle(TINY, SigningKey("team", Ed25519PrivateKey.generate()), "2")
            await refused_by_opa(gate, opa, stranger, "failed to verify JWT signature")
            decision = await gate.pdp.decide(ask("oncall"))
            assert (decision.effect, decision.policy_revision) == ("permit", "1")

    run(main())


def test_a_bundle_that_only_opa_refuses_is_taken_back(run: Any, tmp_path: Path) -> None:
    """``not r.x`` on a boolean rule: a type error for OPA's compiler, nothing to regorus or to the lint."""
    import shutil

    async def main() -> None:
        folder = Path(shutil.copytree(TINY, tmp_path / "p"))
        with (folder / "broker" / "main" / "main.rego").open("a") as file:
            file.write('\nflag if input.action.effect == "read"\n\nbroken if not flag.inner\n')
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            await refused_by_opa(gate, opa, bundle("2", folder), "rego_type_error")
            assert (await gate.pdp.decide(ask("oncall"))).policy_revision == "1"
            await gate.activate(bundle("3"))
            assert (await gate.pdp.decide(ask("oncall"))).policy_revision == "3"

    run(main())


def test_goldens_that_fail_never_reach_opa(run: Any, tmp_path: Path) -> None:
    import shutil

    async def main() -> None:
        folder = Path(shutil.copytree(TINY, tmp_path / "p"))
        path = folder / "golden" / "main.yaml"
        path.write_text(path.read_text().replace("tier: 0", "tier: 1"))
        async with gate_with_opa() as (gate, _):
            await gate.activate(bundle("1"))
            before = await gate.shelf.answer()
            with pytest.raises(BadRequest, match="golden"):
                await gate.activate(bundle("2", folder))
            assert (await gate.shelf.answer()).headers["ETag"] == before.headers["ETag"]

    run(main())


def test_decisions_go_on_while_bundles_change(run: Any) -> None:
    async def main() -> None:
        async with gate_with_opa() as (gate, _):
            await gate.activate(bundle("1"))
            stop = asyncio.Event()
            seen: list[str] = []

            async def keep_asking() -> None:
                while not stop.is_set():
                    seen.append((await gate.pdp.decide(ask("oncall"))).policy_revision)

            asking = asyncio.gather(*(keep_asking() for _ in range(4)))
            for revision in ("2", "3"):
                await gate.activate(bundle(revision))
            stop.set()
            await asking
            assert set(seen) <= {"1", "2", "3"}
            assert (await gate.pdp.decide(ask("oncall"))).policy_revision == "3"

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/data/broker/main/decision?provenance=true&strict-builtin-errors=true", 200),
        ("GET", "/health", 200),
        ("GET", "/health?bundles", 200),
        ("POST", "/v1/data/broker/main/decision?provenance=true&strict-builtin-errors=true&explain=full", 401),
        ("POST", "/v1/data/broker/main/decision", 401),
        ("GET", "/v1/data/broker/main/decision?provenance=true&strict-builtin-errors=true", 401),
        ("POST", "/v1/data/config?provenance=true&strict-builtin-errors=true", 401),
        ("POST", "/v1/data?provenance=true&strict-builtin-errors=true", 401),
        ("POST", "/v0/data/broker/main/decision?provenance=true&strict-builtin-errors=true", 401),
        ("POST", "/v1/query", 401),
        ("POST", "/v1/compile", 401),
        ("PUT", "/v1/policies/x", 401),
        ("PATCH", "/v1/data/config", 401),
        ("DELETE", "/v1/data/config", 401),
        ("GET", "/v1/config", 401),
        ("GET", "/metrics", 401),
        ("PUT", "/v1/data/system/authz", 401),
    ],
)
def test_the_deployed_authorization_allows_the_gates_question_alone(run: Any, opa_socket: str, method: str, path: str, status: int) -> None:  # fmt: skip
    async def main() -> int:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(opa_socket)) as session:
            answer = await session.request(method, f"http://opa{path}", data=b'{"input":{}}')
            async with answer:
                return answer.status

    assert run(main()) == status


@pytest.fixture(scope="module")
def opa_socket() -> Any:
    """One OPA with a bundle, kept in its own thread's loop for all cases of a table."""
    require("opa")
    import threading

    ready, end, found = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with gate_with_opa() as (gate, opa):
            await gate.activate(bundle("1"))
            found.append(opa.socket)
            ready.set()
            await end.wait()

    def serve() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    yield found[0]
    loop.call_soon_threadsafe(end.set)
    thread.join()


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


def test_a_missing_socket_is_an_engine_that_is_down(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(str(tmp_path / "none"), BundleShelf())
        with pytest.raises(PolicyUnavailable) as caught:
            await gate.host.ask(b"{}", "1")
        assert caught.value.error_code == "policy.engine_down"
        await gate.aclose()

    run(main())


def test_both_engines_answer_500_generated_questions_alike(run: Any) -> None:
    import random

    chance = random.Random(11)
    roles = ["oncall", "auditor", "", "é\u2028", "x" * 300, '"', "\x00", "data"]
    actions = ["shop.orders.read", "shop.orders.count", "shop.orders", "", "SHOP.ORDERS.READ", "shop.orders.read\x00"]
    questions = [ask(*chance.sample(roles, chance.randrange(4)), action=chance.choice(actions)) for _ in range(500)]

    async def main() -> None:
        async with gate_with_opa() as (gate, _):
            made = bundle("1")
            await gate.activate(made)
            embedded = await RegorusHost(Bounds(cpu_seconds=1.0, wall_seconds=30.0)).start(made)
            effects = set()
            for question in questions:
                text = json.dumps(question, ensure_ascii=False).encode()
                one, two = await gate.host.ask(text, "1"), await embedded.decide(text)
                assert canonical_answer(one.value) == canonical_answer(two.value)
                effects.add(json.loads(one.value)["effect"])
            assert effects == {"permit", "deny"}
            await embedded.aclose()

    run(main())


async def until(attempt: Callable[[], Any]) -> Any:
    """The first answer of ``attempt`` that is no refusal; a test's timeout ends it."""
    while True:
        try:
            return await attempt()
        except PolicyUnavailable:
            await asyncio.sleep(0.01)
