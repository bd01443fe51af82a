"""Each key that a gate holds, changed as docs/operations.md says: what goes on, what ends, and what is never done twice."""

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import BrokerError
from broker.policy.bundle import build_bundle, open_bundle
from broker.policy.keys import SigningKey, read_signers
from tests.sim import few_goldens
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, world
from tests.unit.cli.test_host_commands import wicketgate

KEY = {"Idempotency-Key": "once"}
SEARCH = ("local.logs.search", {"window_seconds": 3600, "pattern": "card"})


async def lived(it: World) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A session with one read and one write in it, published; the gate is stopped."""
    agent = await it.agent()
    session = await it.session(agent)
    read = await it.act(agent, SEARCH[0], session, SEARCH[1], key={"Idempotency-Key": "read"})
    wrote = await it.act(agent, "local.process.restart", session, env="staging", key=KEY)
    assert (read.status_code, wrote.status_code) == (200, 200), (read.text, wrote.text)
    await it.gate.background.publish()
    await it.stop()
    return session, dict(read.json()), dict(wrote.json())


async def again(it: World, session: str) -> tuple[httpx.Response, httpx.Response]:
    """The read and the write once more, under their keys."""
    agent = await it.agent()
    read = await it.act(agent, SEARCH[0], session, SEARCH[1], key={"Idempotency-Key": "read"})
    return read, await it.act(agent, "local.process.restart", session, env="staging", key=KEY)


def renew(path: Path) -> None:
    path.unlink()
    path.write_bytes(secrets.token_bytes(32))
    path.chmod(0o600)


def verified(data: Path, log: str = "log") -> int:
    return wicketgate("audit", "verify", str(data / log), "--vkey", str(data / f"{log}.vkey")).exit_code


@pytest.mark.parametrize("name", ["pseudonym.key", "console.key", "authenticators.key"])
def test_these_keys_change_by_a_restart_and_nothing_is_done_twice(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, read, wrote = await lived(it)
            renew(it.data / "keys" / name)
            await it.start()
            one, two = await again(it, session)
            assert (one.json()["action_id"], two.json()["action_id"]) == (read["action_id"], wrote["action_id"])
            assert it.restarts() == 1
            await it.gate.background.publish()
            assert verified(it.data) == 0

    asyncio.run(main())


def test_a_new_console_key_signs_everybody_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            people = [await signed_in(it, name) for name in ("oncall", "security")]
            kept = {one.login for one in people}
            for renewed, status in ((False, 200), (True, 303)):
                await it.stop()
                if renewed:
                    renew(it.data / "keys" / "console.key")
                await it.start()
                for login in kept:
                    async with Visitor(it) as one:
                        one.login = login
                        assert (await one.open("/console/health")).status_code == status
            for one in people:
                await one.client.aclose()

    asyncio.run(main())


def test_a_new_vault_key_ends_the_sessions_before_it_and_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, _, _ = await lived(it)
            renew(it.data / "keys" / "vault-eu-west-1.key")
            await it.start()
            for answer in await again(it, session):
                assert (answer.status_code, answer.json()["code"]) == (503, "redaction.vault_key")
            agent = await it.agent()
            fresh = await it.act(agent, SEARCH[0], await it.session(agent), SEARCH[1])
            assert (fresh.status_code, it.restarts()) == (200, 1)

    asyncio.run(main())


def test_a_payload_key_that_is_swapped_opens_nothing_of_before_and_nothing_is_done_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, _, _ = await lived(it)
            key = it.data / "keys" / "payload.key"
            former = key.read_bytes()
            renew(key)
            await it.start()
            for answer in await again(it, session):
                assert answer.status_code >= 500, "so it is kept as long as its log"
            assert it.restarts() == 1
            await it.stop()
            key.write_bytes(former)
            await it.start()
            for answer in await again(it, session):
                assert answer.status_code == 200, answer.text
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_new_id_key_makes_old_idempotency_keys_new_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, _, wrote = await lived(it)
            renew(it.data / "keys" / "id.key")
            await it.start()
            _, two = await again(it, session)
            assert two.json()["action_id"] != wrote["action_id"]
            assert it.restarts() == 2, "which is why it is changed only when no client repeats what it asked before"

    asyncio.run(main())


def test_a_new_log_key_begins_a_new_log_and_the_old_one_verifies_as_it_was_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, _, wrote = await lived(it)
            kept = tmp_path / "kept"
            kept.mkdir()
            for name in ("log", "log.vkey", "keys/log.key", "keys/log.key.memory"):
                shutil.move(it.data / name, kept / Path(name).name)
            renewed = it.settings.audit.model_copy(update={"origin": "wicketgate.local/log-2"})
            it.settings = it.settings.model_copy(update={"audit": renewed})
            await it.start()
            _, two = await again(it, session)
            assert (two.json()["action_id"], it.restarts()) == (wrote["action_id"], 1), "state outlives the log"
            agent = await it.agent()
            assert (await it.act(agent, SEARCH[0], await it.session(agent), SEARCH[1])).status_code == 200
            await it.gate.background.publish()
            assert verified(it.data) == 0
            assert verified(kept) == 0
            assert (it.data / "log.vkey").read_text() != (kept / "log.vkey").read_text()

    asyncio.run(main())


def test_a_log_key_that_is_merely_swapped_halts_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session, _, _ = await lived(it)
            renew(it.data / "keys" / "log.key")
            await it.start()
            agent = await it.agent()
            answer = await it.act(agent, SEARCH[0], session, SEARCH[1])
            assert (answer.status_code, answer.json()["code"]) == (503, "audit.unavailable")

    asyncio.run(main())


def test_a_new_bundle_token_counts_from_the_next_start(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("former")

    async def main() -> None:
        async with world(tmp_path, extra=f'[policy]\nbundle_token_file = "{token}"\n') as it:

            async def refused() -> list[bool]:
                told = [{"Authorization": f"Bearer {one}"} for one in ("former", "later")]
                return [(await it.client.get("/bundles/broker.tar.gz", headers=one)).status_code == 401 for one in told]

            assert await refused() == [False, True]
            await it.stop()
            token.write_text("later")
            await it.start()
            assert await refused() == [True, False]

    asyncio.run(main())


def test_policy_signers_overlap_while_one_follows_the_other() -> None:
    former, later = (SigningKey(name, Ed25519PrivateKey.generate()) for name in ("policy-2026", "policy-2027"))
    old, new = (build_bundle(few_goldens.policies(), key, str(n)) for n, key in enumerate((former, later), 1))
    both = read_signers({one.id: one.public_pem() for one in (former, later)})
    for bundle in (old, new):
        assert open_bundle(bundle.archive, bundle.signature, both).digest == bundle.digest
    alone = read_signers({later.id: later.public_pem()})
    assert open_bundle(new.archive, new.signature, alone).digest == new.digest
    with pytest.raises(BrokerError):
        open_bundle(old.archive, old.signature, alone)
