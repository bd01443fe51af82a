"""One matrix over real identity providers: ours on a real server, and the certified npm oidc-provider.

The gate is configured as an operator would, fetches keys over HTTP, and sees tokens from real flows only.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from broker.clock import SeededClock
from broker.errors import Unauthenticated
from broker.identity import Credential
from broker.model import Party, PartyKind
from tests.sim.identity_providers import VERIFIER, World, ask, code_of, dev_world, node_world
from tests.sim.issuer import dpop_proof

Run = Callable[[Coroutine[Any, Any, Any]], Any]
WORLDS = ["dev", "oidc-provider"]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    return dev_world if request.param == "dev" else lambda: node_world(tmp_path)


def test_every_flow_gives_the_party_that_took_it(world: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        async with world() as w:
            verifier = w.verifier()
            name, (oncall, security) = w.table["name"], w.people
            agent = await ask(verifier, (await w.agent_token()).json()["access_token"])
            assert agent.subject == Party(f"{name}:agent-1", PartyKind.AGENT, frozenset({"agent"}))
            assert (agent.actor, agent.client, agent.tenant) == (None, "agent-1", "default")
            person = await ask(verifier, (await w.person_tokens(oncall))["access_token"])
            assert person.subject == Party(f"{name}:{oncall}", PartyKind.HUMAN, frozenset({"oncall"}))
            assert (person.actor, person.client) == (None, w.client)
            at_device = await ask(verifier, await w.device_token(security))
            assert at_device.subject == Party(f"{name}:{security}", PartyKind.HUMAN, frozenset({"security"}))

    run(main())


def test_what_is_no_access_token_for_this_gate_is_refused(world: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        async with world() as w:
            verifier = w.verifier()
            tokens = await w.person_tokens(w.people[0])
            access = tokens["access_token"]
            assert await code_of(verifier, tokens["id_token"]) == "identity.wrong_type"
            other = w.verifier(audiences=("https://other.example",))
            assert await code_of(other, access) == "identity.wrong_audience"
            head, body, signature = access.split(".")
            assert await code_of(verifier, f"{head}.{body}.{signature[::-1]}") in {
                "identity.bad_signature",
                "identity.malformed",
            }
            assert await code_of(verifier, f"{head}.{body[:-6]}{body[-6:].swapcase()}.{signature}") in {
                "identity.bad_signature",
                "identity.malformed",
            }
            assert await code_of(w.verifier(lifetime_seconds_max=599), access) == "identity.lifetime"
            later = SeededClock(w.clock.now_ns())
            later.advance(631)
            assert await code_of(w.verifier(clock=later), access) == "identity.expired"
            earlier = SeededClock(w.clock.now_ns())
            earlier.advance(-60)
            assert await code_of(w.verifier(clock=earlier), access) == "identity.not_yet_valid"

    run(main())


def test_a_client_assertion_works_once_and_only_from_the_agents_own_key(world: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        async with world() as w:
            assertion = w.assertion()
            assert (await w.agent_token(assertion)).status_code == 200
            assert (await w.agent_token(assertion)).json()["error"] == "invalid_client"
            w.agent = ECKey.generate_key("P-256", {"kid": "agent-1"})
            assert (await w.agent_token()).json()["error"] == "invalid_client"

    run(main())


def test_an_authorization_code_works_once_with_its_own_verifier(world: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        async with world() as w:
            form = {"grant_type": "authorization_code", "client_id": w.client, "redirect_uri": w.redirect}
            code = await w.code(w.people[0])
            assert (await w.token(**form, code=code, code_verifier="w" * 43)).json()["error"] == "invalid_grant"
            code = await w.code(w.people[0])
            assert (await w.token(**form, code=code, code_verifier=VERIFIER)).status_code == 200
            assert (await w.token(**form, code=code, code_verifier=VERIFIER)).json()["error"] == "invalid_grant"

    run(main())


def test_an_agent_acts_for_a_person_by_exchange_and_brings_both_parties(run: Run) -> None:
    async def main() -> None:
        async with dev_world() as w:
            verifier = w.verifier()
            person = (await w.person_tokens("oncall"))["access_token"]
            answer = await w.token(**exchange(w, person))
            assert answer.status_code == 200, answer.text
            who = await ask(verifier, answer.json()["access_token"])
            assert who.parties == (
                Party("dev:oncall", PartyKind.HUMAN, frozenset({"oncall"})),
                Party("dev:agent-1", PartyKind.AGENT, frozenset({"agent"})),
            )
            assert (who.acting.id, who.auth_time, who.acr) == ("dev:agent-1", None, "")

    run(main())


def exchange(w: World, subject_token: str, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": subject_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": w.assertion(),
        **changes,
    }


def test_keys_rotate_at_the_running_provider_without_a_token_being_lost(run: Run) -> None:
    async def main() -> None:
        async with dev_world() as w:
            verifier = w.verifier()
            assert isinstance(w.clock, SeededClock)
            before = (await w.agent_token()).json()["access_token"]
            await ask(verifier, before)
            w.clock.advance(86_400)
            after = (await w.agent_token()).json()["access_token"]
            assert (await ask(verifier, after)).client == "agent-1"
            assert await code_of(verifier, before) == "identity.expired"

    run(main())


def test_a_dpop_bound_token_of_a_certified_provider_works_with_its_proof_alone(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with node_world(tmp_path) as w:
            key = ECKey.generate_key("P-256")
            proof = dpop_proof(key, w.clock, "", "POST", w.metadata["token_endpoint"], ath=None)
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            answer = await w.token(
                {"DPoP": proof}, grant_type="client_credentials", scope="ops:act", client_assertion_type=kind,
                client_assertion=w.assertion(),
            )  # fmt: skip
            assert answer.json()["token_type"] == "DPoP", answer.text
            token = answer.json()["access_token"]
            assert await code_of(w.verifier(), token) == "identity.bound_unproven"
            verifier = w.verifier(sender_constraint="dpop")
            url = "https://gate.example/v1/actions"
            mine = dpop_proof(key, w.clock, token, "POST", url, jti="proof-0002")
            who = await verifier.authenticate(Credential(f"DPoP {token}", mine, "POST", url))
            assert who.client == "agent-1"
            theirs = dpop_proof(ECKey.generate_key("P-256"), w.clock, token, "POST", url)
            with pytest.raises(Unauthenticated):
                await verifier.authenticate(Credential(f"DPoP {token}", theirs, "POST", url))

    run(main())
