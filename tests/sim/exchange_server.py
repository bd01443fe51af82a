"""An authorization server that exchanges tokens (RFC 8693), and a tool server that believes its tokens alone.

Every rule of the wire is checked as a server would: client authentication (RFC 7523 or a secret), statements about subject
and actor by the gate's key, for this server, in force, once. Tokens are real JWTs under the server's own key.
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from broker.clock import Clock, seconds
from tests.sim.upstream import Seen, UpstreamSim, whole

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GATE, CLIENT_ID, SECRET, AUDIENCE = "https://gate.example", "wicketgate", "s3cret of/the client", "https://crm.example"


@dataclass
class ExchangeServer:
    """``answer`` overrides what the token endpoint says; ``refused`` are subjects for whom nobody may act."""

    clock: Clock
    gate_key: ECKey
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "as-1"}))
    lives: int = 600
    refused: frozenset[str] = frozenset()
    answer: bytes = b""
    forms: list[dict[str, str]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    hold: asyncio.Event | None = None

    def sim(self) -> UpstreamSim:
        async def reply(seen: Seen, writer: Any) -> None:
            if self.hold is not None:
                await self.hold.wait()
            form = dict(parse_qsl(seen.body.decode(), strict_parsing=True))
            self.forms.append(form)
            writer.write(self.answer or self._answer(seen, form))

        self._sim = UpstreamSim(reply)
        return self._sim

    @property
    def url(self) -> str:
        return f"{self._sim.url}/token"

    def _answer(self, seen: Seen, form: dict[str, str]) -> bytes:  # noqa: PLR0911 - one for each rule
        if not self._client(seen, form):
            return whole(401, {"error": "invalid_client", "error_description": "no such client: wicketgate"})
        said: dict[str, Any] = {"sub": f"client:{CLIENT_ID}"}
        if form["grant_type"] == GRANT:
            subject = self._statement(form.get("subject_token", ""), form.get("subject_token_type", ""))
            if subject is None or form.get("requested_token_type") != ACCESS:
                return whole(400, {"error": "invalid_request"})
            if subject["sub"] in self.refused:
                return whole(400, {"error": "access_denied", "error_description": f"{subject['sub']} may not"})
            said = {"sub": subject["sub"], "tenant": subject["tenant"]}
            if "actor_token" in form:
                actor = self._statement(form["actor_token"], form.get("actor_token_type", ""))
                if actor is None:
                    return whole(400, {"error": "invalid_request"})
                said["act"] = {"sub": actor["sub"]}
        elif form["grant_type"] != "client_credentials":
            return whole(400, {"error": "unsupported_grant_type"})
        if form.get("audience") != AUDIENCE:
            return whole(400, {"error": "invalid_target"})
        now = seconds(self.clock)
        claims = {
            **said,
            "aud": AUDIENCE,
            "scope": form.get("scope", ""),
            "exp": now + self.lives,
            "jti": str(len(self.forms)),
        }
        token = jwt.encode({"alg": "ES256", "kid": "as-1"}, claims, self.key)
        more = {"issued_token_type": ACCESS} if form["grant_type"] == GRANT else {}
        return whole(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lives, **more})

    def _client(self, seen: Seen, form: dict[str, str]) -> bool:
        if (basic := seen.headers.get("authorization", "")).startswith("Basic "):
            name, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
            return (unquote(name), unquote(secret)) == (CLIENT_ID, SECRET)
        said = self._signed(form.get("client_assertion", ""))
        named = said is not None and said["iss"] == said["sub"] == form.get("client_id") == CLIENT_ID
        return named and form.get("client_assertion_type") == CLIENT

    def _statement(self, token: str, kind: str) -> dict[str, Any] | None:
        said = self._signed(token) if kind == JWT else None
        return said if said is not None and said["iss"] == GATE and said["sub"] else None

    def _signed(self, token: str) -> dict[str, Any] | None:
        """Claims of a JWT by the gate's key, for this server, a minute long at most, seen for the first time."""
        try:
            claims = jwt.decode(token, self.gate_key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return None
        now = seconds(self.clock)
        good = claims["aud"] == self.url and claims["iat"] <= now < claims["exp"] <= claims["iat"] + 60
        if not good or claims["jti"] in self.used:
            return None
        self.used.add(claims["jti"])
        return dict(claims)

    def tools(self) -> UpstreamSim:
        """The system behind: it says whose token it was shown."""

        async def reply(seen: Seen, writer: Any) -> None:
            try:
                token = seen.headers["authorization"].removeprefix("Bearer ")
                claims = jwt.decode(token, self.key, algorithms=["ES256"]).claims
            except (JoseError, ValueError, KeyError):
                writer.write(whole(401, {"error": "invalid_token"}))
                return
            good = claims["aud"] == AUDIENCE and seconds(self.clock) < claims["exp"]
            told = {"sub": claims["sub"], "act": claims.get("act"), "scope": claims["scope"], "spec": {"replicas": 2}}
            writer.write(whole(200, told) if good else whole(401, json.dumps({"error": "expired"}).encode()))

        return UpstreamSim(reply)
