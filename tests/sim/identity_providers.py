"""Identity providers that really run, as the matrix over them visits them: ours on a real server, npm oidc-provider.

Keycloak's world is in ``keycloak.py``: it takes longer, and stands in the drill alone.
"""

import asyncio
import hashlib
import json
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
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
from broker.model import Principal
from demo.wire import free_port
from tests.parts import ROOT, missing, require
from tests.sim.issuer import b64

AUDIENCE = "https://gate.example/api"
CODE = "TESTCODE23"
VERIFIER = "v" * 43
CHALLENGE = b64(hashlib.sha256(VERIFIER.encode()).digest())
FOLDER = ROOT / "tests/sim/oidc_provider"
MODULES = ROOT / ".parts/oidc-provider"


def form_of(page: httpx.Response, **filled: str) -> tuple[str, dict[str, str]]:
    """Action and fields of the only form of a page, hidden fields kept: what a browser would post."""
    action = re.search(r'<form[^>]* action="([^"]*)"', page.text)
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    target = unescape(action.group(1)) if action else ""
    return str(page.url.join(target)), fields | filled


class World(ABC):
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
            "state": "s-1", "nonce": "n-1", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
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

    @abstractmethod
    async def sign_in(self, page: httpx.Response, person: str) -> str:
        """Let ``person`` sign in from ``page`` on; where the provider then sends the browser, with the code."""

    @abstractmethod
    async def let_in(self, page: httpx.Response, person: str) -> None:
        """Let ``person`` say yes to a device."""


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


class PagesWorld(World):
    """A provider with pages of its own that follow each other: names, passwords, consent."""

    @abstractmethod
    def filled(self, page: str, person: str) -> dict[str, str]:
        """What ``person`` types into a page, beside its hidden fields."""

    async def walk(self, page: httpx.Response, person: str) -> httpx.Response:
        """Follow redirects and fill in pages until the provider answers the client, or has no more forms."""
        for _ in range(12):
            for cookie in self.http.cookies.jar:
                cookie.secure = False  # Keycloak marks them Secure on plain http, too
            if page.is_redirect:
                target = page.url.join(page.headers["location"])
                if str(target).startswith(self.redirect):
                    return page
                page = await self.http.get(target)
                continue
            if "<form" not in page.text:
                return page
            action, fields = form_of(page, **self.filled(page.text, person))
            page = await self.http.post(action, data=fields)
        raise AssertionError(page.text)

    async def sign_in(self, page: httpx.Response, person: str) -> str:
        return str((await self.walk(page, person)).headers["location"])

    async def let_in(self, page: httpx.Response, person: str) -> None:
        await self.walk(page, person)


class NodeWorld(PagesWorld):
    people = ("alice", "bob")
    table: ClassVar[dict[str, Any]] = {
        "name": "corp", "profile": "rfc9068", "audiences": (AUDIENCE,), "tenant": "default", "agents": ("agent-1",),
        "roles": {"sre": "oncall", "security": "security", "bots": "agent"},
    }  # fmt: skip
    client = "cli"
    redirect = "http://127.0.0.1:45678/cb"
    scope = "openid ops:act"

    def filled(self, page: str, person: str) -> dict[str, str]:
        return {"login": person, "password": "x"} if 'name="login"' in page else {}


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
    async with httpx.AsyncClient(trust_env=False, timeout=90) as http:
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
        missing("oidc-provider", "run sh tests/sim/npm_part.sh oidc_provider")
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
        async with httpx.AsyncClient(trust_env=False, timeout=90) as http:
            world = NodeWorld(f"http://127.0.0.1:{port}", agent, http, SystemClock())
            await world.discover()
            yield world
    finally:
        process.kill()
        await process.wait()


async def ask(verifier: Verifier, token: str, **credential: str) -> Principal:
    return await verifier.authenticate(Credential(f"Bearer {token}", **credential))


async def code_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await ask(verifier, token)
    return refusal.value.error_code
