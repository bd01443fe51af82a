"""One matrix over real identity providers: ours on a real server, and the certified npm oidc-provider.

The gate is configured as an operator would, fetches keys over HTTP, and sees tokens from real flows only.
"""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.routing import Mount

from broker.clock import Clock, SeededClock, SystemClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Credential, Verifier, issuer_profile
from broker.identity.dev import DevProvider, client_assertion
from broker.model import Party, PartyKind, Principal
from tests.parts import ROOT, free_port, missing, require
from tests.sim.issuer import b64, dpop_proof

AUDIENCE = "https://gate.example/api"
CODE = "TESTCODE23"
VERIFIER = "v" * 43
CHALLENGE = "S256"
FOLDER = ROOT / "tests/sim/oidc_provider"
MODULES = ROOT / ".parts/oidc-provider"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def challenge(verifier: str) -> str:
    import hashlib

    return b64(hashlib.sha256(verifier.encode()).digest())


def form_of(page: httpx.Response, **filled: str) -> tuple[str, dict[str, str]]:
    """Action and fields of the only form of a page, hidden fields kept: what a browser would post."""
    action = re.search(r'<form[^>]* action="([^"]*)"', page.text)
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    target = unescape(action.group(1)) if action else ""
    return str(page.url.join(target)), fields | filled


class World:
    """A running provider: how its pages are filled in differs, the flows are the same."""

    issuer: str
    table: ClassVar[dict[str, Any]]
    people: tuple[str, str]
    """A person who is on call, and one of the security team."""
    redirect = "http://127.0.0.1:45678/callback"
    client = "wicketgate-cli"
    scope = "openid gate"

    def __init__(self, issuer: str, agent: ECKey, http: httpx.AsyncClient, clock: Clock) -> None:
        self.issuer, self.agent, self.http, self.clock = issuer, agent, http, clock
        self.metadata: dict[str, Any] = {}

    async def discover(self) -> None:
        self.metadata = (await self.http.get(f"{self.issuer}/.well-known/openid-configuration")).json()

    def verifier(self, clock: Clock | None = None, **changes: Any) -> Verifier:
        async def fetch(url: str) -> bytes:
            answer = await self.http.get(url)
            if answer.status_code != 200:
                raise OSError(answer.status_code)
            return answer.content

        profile = issuer_profile({**self.table, "issuer": self.issuer, **changes}, insecure_loopback=True)
        return Verifier([profile], fetch, clock or self.clock)

    def assertion(self) -> str:
        return client_assertion(self.agent, "agent-1", self.issuer, seconds(self.clock))

    async def token(self, headers: dict[str, str] | None = None, **form: str) -> httpx.Response:
        return await self.http.post(self.metadata["token_endpoint"], data=form, headers=headers)

    async def agent_token(self, assertion: str = "", **more: str) -> httpx.Response:
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return await self.token(
            grant_type="client_credentials", scope=self.scope.split()[-1], client_assertion_type=kind,
            client_assertion=assertion or self.assertion(), **more,
        )  # fmt: skip

    async def code(self, person: str, **changes: str) -> str:
        asked = {
            "response_type": "code", "client_id": self.client, "redirect_uri": self.redirect, "scope": self.scope,
            "state": "s-1", "nonce": "n-1", "code_challenge": challenge(VERIFIER), "code_challenge_method": CHALLENGE,
        }  # fmt: skip
        page = await self.http.get(self.metadata["authorization_endpoint"], params=asked | changes)
        answer = parse_qs(urlsplit(await self.sign_in(page, person)).query)
        assert (answer["state"], answer["iss"]) == (["s-1"], [self.issuer])
        return answer["code"][0]

    async def person_tokens(self, person: str) -> dict[str, Any]:
        answer = await self.token(
            grant_type="authorization_code", code=await self.code(person), client_id=self.client,
            redirect_uri=self.redirect, code_verifier=VERIFIER,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def device_token(self, person: str) -> str:
        self.http.cookies.clear()
        started = await self.http.post(
            self.metadata["device_authorization_endpoint"], data={"client_id": self.client, "scope": self.scope}
        )
        device = started.json()
        poll = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": device["device_code"],
            "client_id": self.client,
        }
        assert (await self.token(**poll)).json()["error"] == "authorization_pending"
        await self.let_in(await self.http.get(device["verification_uri_complete"]), person)
        answer = await self.token(**poll)
        assert answer.status_code == 200, answer.text
        assert "access_token" not in (await self.token(**poll)).json()
        return str(answer.json()["access_token"])

    async def sign_in(self, page: httpx.Response, person: str) -> str:
        raise NotImplementedError

    async def let_in(self, page: httpx.Response, person: str) -> None:
        raise NotImplementedError


class DevWorld(World):
    people = ("oncall", "security")
    table: ClassVar[dict[str, Any]] = {
        "name": "dev",
        "profile": "dev",
        "audiences": (AUDIENCE,),
        "tenant_claim": "tenant",
        "agents": ("agent-1",),
    }

    async def sign_in(self, page: httpx.Response, person: str) -> str:
        action, fields = form_of(page, persona=person, code=CODE, verdict="allow")
        return (await self.http.post(action, data=fields)).headers["location"]

    async def let_in(self, page: httpx.Response, person: str) -> None:
        user_code = re.search(r'name="user_code" value="([^"]+)"', page.text)
        assert user_code
        action, fields = form_of(page, persona=person, code=CODE, verdict="allow", user_code=user_code.group(1))
        assert "is signed in" in (await self.http.post(action, data=fields)).text


class NodeWorld(World):
    people = ("alice", "bob")
    table: ClassVar[dict[str, Any]] = {
        "name": "corp", "profile": "rfc9068", "audiences": (AUDIENCE,), "tenant": "default", "agents": ("agent-1",),
        "roles": {"sre": "oncall", "security": "security", "bots": "agent"},
    }  # fmt: skip
    client = "cli"
    redirect = "http://127.0.0.1:45678/cb"
    scope = "openid ops:act"

    async def walk(self, page: httpx.Response, person: str) -> httpx.Response:
        """Follow redirects and fill in the provider's own pages until it answers the client, or has no more forms."""
        for _ in range(12):
            if page.is_redirect:
                target = page.url.join(page.headers["location"])
                if str(target).startswith(self.redirect):
                    return page
                page = await self.http.get(target)
                continue
            if "<form" not in page.text:
                return page
            action, fields = form_of(page)
            if 'name="login"' in page.text:
                fields |= {"login": person, "password": "x"}
            page = await self.http.post(action, data=fields)
        raise AssertionError(page.text)

    async def sign_in(self, page: httpx.Response, person: str) -> str:
        return str((await self.walk(page, person)).headers["location"])

    async def let_in(self, page: httpx.Response, person: str) -> None:
        await self.walk(page, person)


@asynccontextmanager
async def dev_world() -> AsyncIterator[DevWorld]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}/dev-idp"
    clock = SeededClock(SystemClock().now_ns())
    agent = ECKey.generate_key("P-256", {"kid": "agent-1", "use": "sig", "alg": "ES256"})
    provider = DevProvider(issuer, dev=True, audience=AUDIENCE, clock=clock, code=CODE, agent=agent)
    app = Starlette(routes=[Mount("/dev-idp", app=provider)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx.AsyncClient(trust_env=False) as http:
        world = DevWorld(issuer, agent, http, clock)
        await world.discover()
        yield world
    server.should_exit = True
    await serving


@asynccontextmanager
async def node_world(folder: Path, backchannel: str = "") -> AsyncIterator[NodeWorld]:
    """The provider as a process of its own; ``backchannel`` is where it tells the console of logouts."""
    node = require("node")
    if not (MODULES / "node_modules/oidc-provider").is_dir():
        missing("oidc-provider", "run tests/sim/oidc_provider/install.sh")
    agent = ECKey.generate_key("P-256", {"kid": "agent-1", "use": "sig", "alg": "ES256"})
    key = folder / "agent.jwk"
    key.write_text(json.dumps(agent.as_dict(private=False)))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        node,
        FOLDER / "idp.mjs",
        str(port),
        key,
        MODULES,
        backchannel,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        while (line := await process.stdout.readline()) and not line.startswith(b"ready"):
            pass
        assert line, "oidc-provider did not start"
        async with httpx.AsyncClient(trust_env=False) as http:
            world = NodeWorld(f"http://127.0.0.1:{port}", agent, http, SystemClock())
            await world.discover()
            yield world
    finally:
        process.kill()
        await process.wait()


WORLDS = ["dev", "oidc-provider"]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    return dev_world if request.param == "dev" else lambda: node_world(tmp_path)


async def ask(verifier: Verifier, token: str, **credential: str) -> Principal:
    return await verifier.authenticate(Credential(f"Bearer {token}", **credential))


async def code_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await ask(verifier, token)
    return refusal.value.error_code


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
