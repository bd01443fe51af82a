"""The development identity provider in this process, and a way to speak to it as a peer on this machine."""

import asyncio
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc.jwk import ECKey

from broker.clock import SeededClock, seconds
from broker.identity import Credential, Verifier, issuer_profile
from broker.identity.dev import DevProvider, client_assertion
from broker.model import Principal
from tests.sim.issuer import b64

ISSUER = "http://localhost:8480/dev-idp"
AUDIENCE = "http://localhost:8480"
CODE = "TESTCODE23"
VERIFIER = "v" * 43
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PERSONA = "urn:wicketgate:dev:persona"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"

AGENT = ECKey.generate_key("P-256", {"kid": "agent-1", "use": "sig", "alg": "ES256"})


class Dev:
    """A provider and a way to speak to it as a peer on this machine."""

    def __init__(self, clock: SeededClock, **changes: Any) -> None:
        self.clock = clock
        settings = {"dev": True, "audience": AUDIENCE, "clock": clock, "code": CODE, "agent": AGENT, **changes}
        self.provider = DevProvider(ISSUER, **settings)

    def send(self, method: str, path: str, *, peer: str = "127.0.0.1", **request: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            # The parent would mount the provider; here its own paths are asked for, under the issuer's host.
            transport = httpx.ASGITransport(self.provider, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8480") as client:
                return await client.request(method, path, **request)

        return asyncio.run(main())

    def token(self, **form: str) -> httpx.Response:
        return self.send("POST", "/token", data=form)

    def assertion(self, key: ECKey = AGENT, client: str = "agent-1", audience: str = ISSUER) -> str:
        return client_assertion(key, client, audience, seconds(self.clock))

    def agent(self, assertion: str = "", **form: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE} | form
        return self.token(client_assertion=assertion or self.assertion(), **form)

    def persona(self, name: str = "oncall", code: str = CODE, **form: str) -> httpx.Response:
        return self.token(
            **{"grant_type": PERSONA, "client_id": "wicketgate-cli", "persona": name, "code": code, **form}
        )

    def exchange(self, subject_token: str, **changes: str) -> httpx.Response:
        form = {"grant_type": EXCHANGE, "subject_token": subject_token, "subject_token_type": ACCESS}
        merged = {**form, **changes}
        return self.agent(merged.pop("client_assertion", ""), **merged)

    def query(self, **changes: str | None) -> str:
        asked = {
            "response_type": "code",
            "client_id": "wicketgate-cli",
            "redirect_uri": "http://127.0.0.1:5000/callback",
            "scope": "openid gate",
            "state": "s-1",
            "code_challenge": b64(hashlib.sha256(VERIFIER.encode()).digest()),
            "code_challenge_method": "S256",
            **changes,
        }
        return urlencode({name: value for name, value in asked.items() if value is not None})

    def sign_in(self, query: str, **form: str) -> httpx.Response:
        filled = {"persona": "oncall", "code": CODE, "verdict": "allow", **form}
        return self.send("POST", f"/authorize?{query}", data=filled)

    def believe(self, token: str) -> Principal:
        async def fetch(url: str) -> bytes:
            return self.provider.jwks()

        profile = issuer_profile(
            {
                "name": "dev",
                "profile": "dev",
                "issuer": ISSUER,
                "audiences": (AUDIENCE,),
                "tenant_claim": "tenant",
                "agents": ("agent-1",),
                "jwks_uri": f"{ISSUER}/jwks",
            },
            insecure_loopback=True,
        )
        verifier = Verifier([profile], fetch, self.clock)
        return asyncio.run(verifier.authenticate(Credential(f"Bearer {token}")))


def access(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def error(answer: httpx.Response) -> str:
    assert answer.status_code in {400, 401}, answer.text
    assert "access_token" not in answer.text
    return str(answer.json()["error"])


def redeem(dev: Dev, value: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "client_id": "wicketgate-cli", "code_verifier": VERIFIER}
    return dev.token(**{**form, "redirect_uri": "http://127.0.0.1:5000/callback", "code": value} | changes)


def a_code(dev: Dev) -> str:
    return parse_qs(urlsplit(dev.sign_in(dev.query()).headers["location"]).query)["code"][0]
