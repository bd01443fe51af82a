"""A connector that shows each principal's own token: what the authorization server is shown, and what becomes of its answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from broker.clock import SeededClock
from broker.connectors.exchange import ExchangeSettings
from broker.connectors.http import HttpConnector, HttpSettings
from broker.connectors.registry import read_settings
from broker.egress import Egress
from broker.errors import BadRequest, BrokerError, UpstreamFailed
from broker.model import Party, PartyKind, Principal, Resource, Result, ResultStatus
from broker.remedies import verifier
from tests.sim.exchange_server import AUDIENCE, CLIENT_ID, GATE, SECRET, ExchangeServer
from tests.sim.served import until
from tests.sim.upstream import UpstreamSim, whole

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SERVER = Resource(type="deployment", id="checkout", env="prod", region="eu-west-1")
KEY = ECKey.generate_key("P-256", {"kid": "gate-1", "use": "sig", "alg": "ES256"})
ALICE = Principal(
    "default", Party("corp:alice", PartyKind.HUMAN), "https://id.example", 2**40, token_ref="ref-of-a-token"
)
BEHIND = replace(ALICE, actor=Party("corp:agent-1", PartyKind.AGENT))
MANIFEST = """
connector: crm
actions:
  crm.who.get:
    title: Who am I
    effect: read
    reversibility: reversible
    idempotent: true
    transport: {path: /who}
  crm.scale.set:
    title: Set
    effect: write
    reversibility: reversible
    idempotent: true
    arguments: {replicas: {type: integer, required: true}}
    rollback: {action: crm.scale.set, arguments: {replicas: "{before.spec.replicas}"}}
    transport: {method: PUT, path: /scale, state: /scale, body: {replicas: "{replicas}"}, status_of: {path: "/a/{action_id}", field: sub, done: [client:wicketgate], not_done: [404]}}
"""


@dataclass
class Place:
    clock: SeededClock
    server: ExchangeServer
    tools: UpstreamSim
    crm: HttpConnector
    asked: Any

    async def who(self, principal: Principal | None = ALICE) -> Result:
        grant, action = self.asked.grant("crm.who.get", SERVER, {})
        return await self.crm.execute(replace(grant, principal=principal), action)

    async def refused(self, principal: Principal | None = ALICE) -> UpstreamFailed:
        before = len(self.tools.seen)
        with pytest.raises(UpstreamFailed) as refusal:
            await self.who(principal)
        assert (refusal.value.sent, len(self.tools.seen)) == (False, before), "nothing went to the system itself"
        return refusal.value


@asynccontextmanager
async def place(folder: Path, asked: Any, **more: Any) -> AsyncIterator[Place]:
    clock = SeededClock()
    (folder / "key.jwk").write_text(json.dumps(KEY.as_dict(private=True)))
    (folder / "secret").write_text(SECRET + "\n")
    server = ExchangeServer(clock, KEY)
    async with server.sim(), server.tools() as tools:
        chosen = {"token_url": server.url, "issuer": GATE, "key_file": str(folder / "key.jwk"), "client_id": CLIENT_ID,
                  "audience": AUDIENCE, "scopes": ("crm:read",), "allow_networks": ("127.0.0.1/32",), **more}  # fmt: skip
        settings = HttpSettings(
            name="crm", base_url=tools.url, allow_networks=("127.0.0.1/32",), exchange=ExchangeSettings(**chosen)
        )
        crm = HttpConnector(settings, Egress(), clock)
        try:
            yield Place(clock, server, tools, crm, asked(MANIFEST))
        finally:
            await crm.aclose()


def test_the_system_sees_a_token_for_whoever_asks(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            alone = (await it.who()).value
            assert (alone["sub"], alone["act"], alone["scope"]) == ("corp:alice", None, "crm:read")
            behind = (await it.who(BEHIND)).value
            assert (behind["sub"], behind["act"]) == ("corp:alice", {"sub": "corp:agent-1"})

    run(main())


def test_a_client_may_prove_itself_by_a_secret_and_one_issuers_own_names_may_serve(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with place(tmp_path, asked, client_secret_file=str(tmp_path / "secret"), subjects="corp") as it:
            assert (await it.who(BEHIND)).value["sub"] == "alice"
            assert "client_assertion" not in it.server.forms[0]
            other = replace(ALICE, subject=Party("partner:alice", PartyKind.HUMAN))
            told = await it.refused(other)
            assert told.error_code == "exchange.subject"
            assert len(it.server.forms) == 1, "another issuer's alice is not this one's"

    run(main())


def test_what_the_gate_looks_up_itself_is_asked_as_its_own_client(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            request = it.asked.request("crm.scale.set", SERVER, {"replicas": 3})
            action = it.asked.catalog.action("crm.scale.set")
            plan = await it.crm.plan(request, action)
            assert plan.before["sub"] == "client:wicketgate"
            assert (await it.crm.status_of("act_1", action)).status == "done"
            assert [form["grant_type"] for form in it.server.forms] == ["client_credentials"]

    run(main())


def test_the_gate_measures_and_undoes_as_its_own_client_whichever_issuers_people_are_served(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with place(tmp_path, asked, subjects="corp") as it:
            grant, action = it.asked.grant("crm.scale.set", SERVER, {"replicas": 3})
            undo = (await it.crm.plan(grant.request, action)).rollback
            assert undo is not None
            done = await it.crm.execute(replace(grant, principal=ALICE), action)
            assert done.value["sub"] == "alice"
            gate = verifier("default", it.clock)
            undoing, action = it.asked.grant(undo["action"], SERVER, undo["arguments"], "act_2")
            undone = await it.crm.execute(replace(undoing, principal=gate), action)
            assert (undone.status, undone.value["sub"]) == (ResultStatus.OK, "client:wicketgate")
            assert json.loads(it.tools.seen[-1].body) == {"replicas": 2}, "as it was before"
            assert (await it.who(gate)).value["sub"] == "client:wicketgate"
            await it.refused(replace(gate, issuer="https://id.example"))
            # A token that the system refuses is forgotten for the gate, too.
            it.server.key = ECKey.generate_key("P-256", {"kid": "as-2"})
            assert [(await it.who(gate)).status for _ in range(2)] == [ResultStatus.ERROR, ResultStatus.OK]

    run(main())


def test_a_token_is_remembered_for_its_principal_alone_and_not_into_its_last_tenth(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with place(tmp_path, asked, token_seconds_max=10_000) as it:

            async def times(principal: Principal) -> int:
                before = len(it.server.forms)
                await it.who(principal)
                return len(it.server.forms) - before

            assert [await times(ALICE), await times(ALICE)] == [1, 0]
            tenant, person = replace(ALICE, tenant="acme"), replace(ALICE, subject=Party("corp:bob", PartyKind.HUMAN))
            assert [await times(one) for one in (BEHIND, tenant, person)] == [1, 1, 1]
            it.clock.advance(539)
            assert await times(ALICE) == 0
            it.clock.advance(2)
            assert await times(ALICE) == 1

    run(main())


def test_of_many_requests_at_once_one_asks(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            it.server.hold = asyncio.Event()
            waiting = [asyncio.create_task(it.who()) for _ in range(8)]
            await until(lambda: it.server._sim.connections > 0)
            it.server.hold.set()
            assert {one.value["sub"] for one in await asyncio.gather(*waiting)} == {"corp:alice"}
            assert len(it.server.forms) == 1

    run(main())


def test_a_token_that_the_system_refuses_is_not_shown_again(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            await it.who()
            it.server.key = ECKey.generate_key("P-256", {"kid": "as-2"})
            assert (await it.who()).value == {"status": 401}
            assert (await it.who()).value["sub"] == "corp:alice"
            assert len(it.server.forms) == 2

    run(main())


@pytest.mark.parametrize(("answer", "code", "said"), [
    (whole(400, {"error": "invalid_target", "error_description": "secret words"}), "exchange.refused", "invalid_target"),
    (whole(403, {"error": "<script>"}), "exchange.refused", "status 403"),
    (whole(500, b"oops", kind="text/plain"), "exchange.refused", "status 500"),
    (whole(302, b"", location="https://evil.example/"), "upstream.redirect", ""),
    (whole(200, b"not json"), "exchange.contract", ""),
    (whole(200, [1]), "exchange.contract", ""),
    (whole(200, {"access_token": "a b", "token_type": "Bearer", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}), "exchange.contract", ""),
    (whole(200, {"access_token": "t", "token_type": "DPoP", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}), "exchange.contract", ""),
    (whole(200, {"access_token": "t", "token_type": "N_A", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}), "exchange.contract", ""),
    (whole(200, {"access_token": "t", "token_type": "Bearer"}), "exchange.contract", ""),
    (whole(200, {"access_token": "t", "token_type": "Bearer", "expires_in": True, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}), "exchange.contract", ""),
    (whole(200, {"access_token": "t", "token_type": "Bearer", "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}), "exchange.contract", ""),
])  # fmt: skip
def test_an_answer_without_a_token_is_a_refusal_before_anything_was_sent(
    asked: Any, tmp_path: Path, answer: bytes, code: str, said: str
) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            it.server.answer = answer
            told = await it.refused()
            assert (told.error_code, said in told.detail) == (code, True)
            assert "secret words" not in told.detail
            assert told.error_remedy

    asyncio.run(main())


def test_a_server_that_lets_nobody_act_for_a_person_or_is_gone_says_so(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, asked) as it:
            it.server.refused = frozenset({"corp:alice"})
            told = await it.refused(BEHIND)
            assert (told.error_code, "access_denied" in told.detail) == ("exchange.refused", True)
        async with place(tmp_path, asked, token_url="http://127.0.0.1:1/token") as it:
            assert (await it.refused()).error_code == "upstream.unreachable"

    run(main())


@pytest.mark.parametrize(("more", "code"), [
    ({"key_file": "absent"}, "config.secret"),
    ({"key_file": "public"}, "config.secret"),
    ({"key_file": "symmetric"}, "config.secret"),
    ({"client_secret_file": "absent"}, "config.secret"),
])  # fmt: skip
def test_a_key_that_cannot_sign_stops_the_start(
    run: Run, asked: Any, tmp_path: Path, more: dict[str, str], code: str
) -> None:
    (tmp_path / "public").write_text(json.dumps(KEY.as_dict(private=False)))
    (tmp_path / "symmetric").write_text(json.dumps({"kty": "oct", "k": "c2VjcmV0", "kid": "x"}))

    async def main() -> None:
        with pytest.raises(BrokerError) as refusal:
            async with place(tmp_path, asked, **{name: str(tmp_path / file) for name, file in more.items()}):
                pass
        assert refusal.value.error_code == code

    run(main())


def test_a_credential_and_an_exchange_exclude_each_other_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    exchange = {"token_url": "https://as.example/t", "issuer": GATE, "key_file": "k", "client_id": "c"}
    table = {"base_url": "https://crm.example", "exchange": exchange}
    both = read_settings("http", "crm", {**table, "credential": "bearer", "credential_file": "x"})
    assert isinstance(both, HttpSettings)
    with pytest.raises(BadRequest, match="exclude each other"):
        HttpConnector(both, Egress(), SeededClock())
    with pytest.raises(BadRequest, match="unknown"):
        read_settings("http", "crm", {**table, "exchange": {**exchange, "unknown": 1}})
