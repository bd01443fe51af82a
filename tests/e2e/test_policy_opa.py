"""OPA as the engine: a real server with the files of deploy/opa."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import BadRequest, PolicyUnavailable
from broker.policy.bundle import Bundle, build_bundle
from broker.policy.decision import canonical_answer
from broker.policy.delivery import BundleShelf
from broker.policy.keys import SigningKey
from broker.policy.regorus import Bounds, RegorusHost
from tests.parts import require
from tests.sim.opa import RunningOpa
from tests.sim.opa_gate import TINY, Gate, ask, bundle, gate_with_opa


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
