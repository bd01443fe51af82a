"""No decision, no effect: whatever ails the engine or the bundle, the answer is 503 with its reason, and it heals by itself."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.datafolder import Keys
from broker.errors import BadRequest
from broker.policy import keys as policy_keys
from broker.policy.bundle import build_bundle
from broker.policy.delivery import BundleShelf
from broker.policy.keys import SigningKey
from broker.policy.regorus import RegorusEngine
from broker.wiring import foundations
from tests.parts import ROOT, require
from tests.sim.opa import RunningOpa, running_opa
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.world import MODEL, World, world

RESTART = "local.process.restart"
STATUS = "local.process.status"


@contextlib.asynccontextmanager
async def world_with_opa(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, RunningOpa]]:
    """A gate whose decisions come from a real OPA that has loaded the gate's bundle."""
    require("opa")
    shelf = BundleShelf()
    monkeypatch.setattr(foundations, "BundleShelf", lambda: shelf)
    key = policy_keys.dev_key(Keys(_made(folder / "data")).folder, dev=True)
    async with running_opa(shelf, key) as opa:
        extra = f'[policy]\nengine = "opa"\nopa_socket = "{opa.socket}"\nopa_milliseconds_max = 1500\n'
        async with world(folder, extra=extra) as it:
            for _ in range(3_000):
                if it.gate.policy.active is not None:
                    break
                await asyncio.sleep(0.02)
            assert it.gate.policy.engine_label == "opa 1.20.2"
            yield it, opa


def _made(data: Path) -> Path:
    data.mkdir(mode=0o700)
    return data / "keys"


async def refused(it: World, agent: Mapping[str, str], session: str, code: str) -> None:
    """A read, a write and a model call get no decision, and nothing happens."""
    before = it.restarts(), len(it.models.seen)
    model = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    answers = [
        await it.act(agent, STATUS, session),
        await it.act(agent, RESTART, session, env="staging"),
        await it.client.post(
            "/llm/anthropic/v1/messages", json=model, headers={**agent, "Wicketgate-Session": session}
        ),
    ]
    codes = [answer.json().get("code") or answer.json()["wicketgate"]["code"] for answer in answers]
    assert ([answer.status_code for answer in answers], codes) == ([503] * 3, [code] * 3)
    assert (it.restarts(), len(it.models.seen)) == before
    last = (await it.records())[-1]
    assert (last["kind"], last["body"]["error"]) == ("refusal", code)
    assert "decision" not in last["body"]


async def decides(it: World, agent: Mapping[str, str], session: str) -> None:
    """Decisions come again, with nobody's help."""
    for _ in range(1_200):
        answer = await it.act(agent, STATUS, session)
        if answer.status_code == 200:
            return
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.05)
    raise AssertionError(answer.text)


def test_an_opa_that_stops_or_freezes_lets_nothing_through_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world_with_opa(tmp_path, monkeypatch) as (it, opa):
            agent = await it.agent()
            session = await it.session(agent)
            await decides(it, agent, session)
            opa.stop()
            await refused(it, agent, session, "policy.engine_down")
            await opa.start()
            await decides(it, agent, session)
            opa.suspend()
            try:
                await refused(it, agent, session, "policy.engine_timeout")
            finally:
                opa.resume()
            await decides(it, agent, session)
            assert (await it.act(agent, RESTART, session, env="staging")).status_code == 200
            assert it.restarts() == 1

    asyncio.run(main())


def _unlink(socket: str) -> None:
    Path(socket).unlink(missing_ok=True)


def _permit(**more: Any) -> dict[str, Any]:
    return {
        "schema": "broker.decision/v1",
        "effect": "permit",
        "risk": {"tier": 0, "factors": []},
        "reasons": [],
        "obligations": {"redact": {"profile": "default", "at": ["result"]}},
        "advice": {},
        **more,
    }


def _said(result: Any, revision: str) -> bytes:
    return whole(
        200, {"result": result, "provenance": {"version": "1.20.2", "bundles": {"broker": {"revision": revision}}}}
    )


GARBAGE = {
    "not JSON": (lambda _: whole(200, b"<html>"), "policy.engine_error"),
    "an error": (lambda _: whole(500, {"code": "internal_error"}), "policy.engine_error"),
    "a list": (lambda _: whole(200, [1]), "policy.engine_error"),
    "no result": (lambda _: whole(200, {}), "policy.no_result"),
    "true": (lambda revision: _said(True, revision), "policy.bad_decision"),
    "an effect that is none": (lambda revision: _said(_permit(effect="allow"), revision), "policy.bad_decision"),
    "an obligation nobody knows": (
        lambda revision: _said(_permit(obligations={"hope": {}}), revision),
        "policy.bad_decision",
    ),
    "a field nobody knows": (lambda revision: _said(_permit(override=True), revision), "policy.bad_decision"),
    "a permit of another revision": (lambda revision: _said(_permit(), revision + "0"), "policy.wrong_revision"),
    "a permit without provenance": (lambda _: whole(200, {"result": _permit()}), "policy.wrong_revision"),
    "half an answer": (lambda revision: _said(_permit(), revision)[:-20], "policy.engine_timeout"),
}


def test_an_engine_that_answers_garbage_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with world_with_opa(tmp_path, monkeypatch) as (it, opa):
            agent = await it.agent()
            session = await it.session(agent)
            assert it.gate.policy.active is not None
            revision = it.gate.policy.active.revision
            opa.stop()
            _unlink(opa.socket)
            answers = {"data": b""}

            async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
                writer.write(answers["data"])

            async with UpstreamSim(answer, unix=opa.socket):
                for name, (made, code) in GARBAGE.items():
                    answers["data"] = made(revision)
                    got = await it.act(agent, RESTART, session, env="staging")
                    assert (got.status_code, got.json()["code"]) == (503, code), name
                    assert it.restarts() == 0
            _unlink(opa.socket)
            await opa.start()
            await decides(it, agent, session)

    asyncio.run(main())


async def activate(it: World, who: Mapping[str, str], archive: bytes, signature: str) -> httpx.Response:
    body = {"bundle": base64.b64encode(archive).decode(), "signature": signature, "reason": "new rules"}
    return await it.client.post("/v1/policies/activate", json=body, headers={**who, **it.key()})


def test_a_bundle_that_is_unsigned_tampered_or_unfit_is_refused_and_the_last_good_one_decides(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security = await it.agent(), await it.person("security")
            session = await it.session(agent)
            assert it.gate.policy.active is not None
            good = it.gate.policy.active.digest
            key = policy_keys.dev_key(it.data / "keys", dev=True)
            made = build_bundle(it.policies, key, "7")
            thief = build_bundle(it.policies, SigningKey(key.id, Ed25519PrivateKey.generate()), "8")
            stranger = build_bundle(it.policies, SigningKey("somebody", Ed25519PrivateKey.generate()), "8")
            middle = len(made.archive) // 2
            flipped = made.archive[:middle] + bytes([made.archive[middle] ^ 1]) + made.archive[middle + 1 :]
            for archive, signature in (
                (made.archive, ""),
                (made.archive, "e30.e30.e30"),
                (flipped, made.signature),
                (made.archive + b"\0", made.signature),
                (made.archive, thief.signature),
                (thief.archive, thief.signature),
                (stranger.archive, stranger.signature),
                (b"", made.signature),
            ):
                answer = await activate(it, security, archive, signature)
                assert answer.status_code == 400, answer.text
                assert answer.json()["code"].startswith("policy.")
            broken = tmp_path / "broken"
            shutil.copytree(ROOT / "policies", broken)
            golden = next(path for path in (broken / "golden").rglob("*.yaml") if "effect: deny" in path.read_text())
            golden.write_text(golden.read_text().replace("effect: deny", "effect: permit", 1))
            wrong = build_bundle(broken, key, "9")
            with pytest.raises(BadRequest) as caught:
                await it.gate.policy.activate(wrong.archive, wrong.signature, by="dev:test")
            assert caught.value.error_code.startswith("policy.")
            assert it.gate.policy.active.digest == good
            assert (await it.act(agent, STATUS, session)).status_code == 200
            assert (await it.act(agent, STATUS, session, id_="nowhere")).status_code == 403
            assert (await it.client.get("/readyz")).status_code == 200

    asyncio.run(main())


def test_a_bundle_tampered_on_disk_is_not_loaded_and_nothing_is_decided(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            [kept] = [
                path for path in (it.data / "policy").rglob("*") if path.is_file() and path.stat().st_size > 10_000
            ]
            data = bytearray(kept.read_bytes())
            data[len(data) // 2] ^= 1
            kept.write_bytes(data)
            it.gate.policy._active, active = None, it.gate.policy._active
            await it.gate.policy.poll()
            assert it.gate.policy.active is None
            answer = await it.act(agent, RESTART, session, env="staging")
            assert (answer.status_code, answer.json()["code"]) == (503, "policy.not_loaded")
            missing = (await it.client.get("/readyz")).json()["missing"]
            assert "policy" in missing
            assert it.restarts() == 0
            it.gate.policy._active = active

    asyncio.run(main())


def _workers(it: World) -> list[int]:
    """Pids of the policy workers that decide now."""
    active = it.gate.policy._active
    assert active is not None
    assert isinstance(active.engine, RegorusEngine)
    return [worker._process.pid for worker in active.engine._workers if worker._process is not None]


def test_a_killed_policy_worker_is_replaced_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            for _ in range(3):
                workers = _workers(it)
                assert workers
                for pid in workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await decides(it, agent, session)
            assert (await it.act(agent, RESTART, session, env="staging")).status_code == 200
            assert it.restarts() == 1

    asyncio.run(main())


def test_the_decision_on_record_is_the_one_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with world_with_opa(tmp_path, monkeypatch) as (it, _):
            agent = await it.agent()
            session = await it.session(agent)
            done = await it.act(agent, STATUS, session)
            assert it.gate.policy.active is not None
            intent = next(record for record in await it.records() if record["id"] == done.json()["action_id"])
            decision = intent["body"]["decision"]
            assert decision["engine"].startswith("opa-1.20.2")
            assert decision["policy_digest"] == it.gate.policy.active.digest
            assert decision["id"] == done.json()["decision"]["id"]
            assert orjson.dumps(decision)

    asyncio.run(main())
