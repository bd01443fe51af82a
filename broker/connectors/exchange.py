"""Tokens for one outside system on behalf of whoever asks (RFC 8693), at the authorization server that the system trusts.

Nothing of the caller's leaves the gate. What the server is shown as ``subject_token`` (and, for an agent that acts for a
person, as ``actor_token``) is a statement of the gate's own about the principal: a JWT under the gate's own key, for this
server alone, a minute long, in the form of RFC 7523. The server decides by it which token the system gets to see. What the
gate asks for itself, the state before an effect, what became of it, what a remedy changed and its undoing, is asked with a
token of its own client.

A token is remembered for one subject, actor and tenant, at most ``token_seconds_max`` and never into its last tenth. One
that the server refuses is a refusal before anything was sent.
"""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from pydantic import with_config

from broker.clock import Clock, seconds
from broker.connectors.base import STRICT
from broker.egress import Answer, Egress, UpstreamSettings
from broker.errors import BadRequest, UpstreamFailed
from broker.model import Json, Party, Principal

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
STATEMENT: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"
CLIENT: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
STATEMENT_SECONDS: Final = 60
TOKENS_MAX: Final = 4_096
TOKEN_LENGTH_MAX: Final = 8_000
_ERRORS: Final = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope", "invalid_target", "access_denied",
})  # fmt: skip
"""Words of RFC 6749 and 8693 that may be repeated; whatever else a server says stays here."""
_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "Ed25519"}


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """Where a connector gets tokens on behalf of whoever asks. Seconds as the names say; files are read once, at start."""

    token_url: str
    issuer: str
    """Who the gate is in its statements: their `iss`, as the server knows it."""
    key_file: str
    """The key under them: a private JWK (P-256, P-384, Ed25519 or RSA) with its `kid`; the server knows its public half."""
    client_id: str
    client_secret_file: str = ""
    """The client's secret; without it the client proves itself by `private_key_jwt`, with the same key."""
    server: str = ""
    """The server's issuer identifier, for whom the statements are; empty: `token_url`."""
    audience: str = ""
    resource: str = ""
    scopes: tuple[str, ...] = ()
    subjects: str = ""
    """Name of an `[[identity.issuers]]`: its principals alone are exchanged, each under the `sub` that it gave them. Empty:
    every principal, under its party id, which no two share. The gate's own measuring and undoing go by its own client."""
    token_seconds_max: int = 300
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""
    proxy_url: str = ""
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class _Token:
    headers: Mapping[str, str]
    until: float
    """Monotonic second."""


class Exchange:
    """Gives the headers that one system wants to see, for one principal; safe within one event loop."""

    def __init__(self, name: str, settings: ExchangeSettings, egress: Egress, clock: Clock) -> None:
        """``name`` is the connector's. Raises ``BadRequest`` (``config.secret``, ``config.invalid``) naming the field."""
        self._name = name
        self._settings = settings
        self._clock = clock
        self._key, self._algorithm = _key(name, settings.key_file)
        self._secret = _secret(name, settings.client_secret_file) if settings.client_secret_file else ""
        scheme, _, rest = settings.token_url.partition("://")
        host, slash, path = rest.partition("/")
        self._target = slash + path
        self._upstream = egress.upstream(
            UpstreamSettings(
                name=f"{name} (token exchange)",
                base_url=f"{scheme}://{host}",
                allow_networks=tuple(settings.allow_networks),
                ca_file=settings.ca_file,
                proxy_url=settings.proxy_url,
                timeout_seconds=settings.timeout_seconds,
                answer_bytes_max=65_536,
            )
        )
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        self._asking: dict[tuple[str, str, str], asyncio.Lock] = {}

    async def headers(self, principal: Principal | None) -> Mapping[str, str]:
        """``Authorization`` for ``principal``, or for the gate's own client where there is none.

        Raises ``UpstreamFailed`` (``exchange.refused``, ``exchange.subject``, ``exchange.contract``, ``upstream.*``), and
        then nothing was sent to the system itself.
        """
        whose = _whose(principal)
        known = self._fresh(whose)
        if known is not None:
            return known
        async with self._asking.setdefault(whose, asyncio.Lock()):
            try:
                return self._fresh(whose) or await self._ask(whose, principal)
            finally:
                self._asking.pop(whose, None)

    def forget(self, principal: Principal | None) -> None:
        """The system took no notice of this principal's token: the next request asks for another one."""
        self._tokens.pop(_whose(principal), None)

    async def aclose(self) -> None:
        """Give back connections."""
        await self._upstream.aclose()

    def _fresh(self, whose: tuple[str, str, str]) -> Mapping[str, str] | None:
        known = self._tokens.get(whose)
        return known.headers if known is not None and self._clock.monotonic() < known.until else None

    async def _ask(self, whose: tuple[str, str, str], principal: Principal | None) -> Mapping[str, str]:
        form = self._client() | (self._on_behalf(principal) if principal else {"grant_type": "client_credentials"})
        asked = {"audience": self._settings.audience, "resource": self._settings.resource}
        form |= {name: value for name, value in asked.items() if value}
        if self._settings.scopes:
            form["scope"] = " ".join(self._settings.scopes)
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json", **self._basic()}
        began = self._clock.monotonic()
        try:
            answer = await self._upstream.request("POST", self._target, headers=headers, body=urlencode(form).encode())
        except UpstreamFailed as error:
            error.sent = False  # whatever became of this request, the system that matters has seen none
            raise
        token, lives = self._read(answer, exchanged=principal is not None)
        lasts = min(lives - max(1, lives // 10), self._settings.token_seconds_max)
        self._forget()
        self._tokens[whose] = _Token({"authorization": f"Bearer {token}"}, began + lasts)
        return self._tokens[whose].headers

    def _on_behalf(self, principal: Principal) -> dict[str, str]:
        """Statements about the subject, and about the agent that acts for it."""
        form = {
            "grant_type": GRANT,
            "requested_token_type": ACCESS,
            "subject_token": self._statement(principal.subject, principal),
            "subject_token_type": STATEMENT,
        }
        if principal.actor is not None:
            form |= {"actor_token": self._statement(principal.actor, principal), "actor_token_type": STATEMENT}
        return form

    def _statement(self, party: Party, principal: Principal) -> str:
        """RFC 7523 section 3, about one party. Its issuer's own name for it serves where configuration names that issuer."""
        issuer, _, own = party.id.partition(":")
        if self._settings.subjects and issuer != self._settings.subjects:
            raise UpstreamFailed(
                f"`{self._name}` serves people and agents of one issuer alone, and this is another's",
                sent=False,
                code="exchange.subject",
                remedy="ask as somebody of the issuer that the connector's `exchange.subjects` names",
            )
        said = {
            "sub": own if self._settings.subjects else party.id,
            "kind": party.kind.value,
            "tenant": principal.tenant,
        }
        return self._signed({"iss": self._settings.issuer, **said})

    def _client(self) -> dict[str, str]:
        """The client's own proof (RFC 7523 section 2.2), unless it has a secret."""
        if self._secret:
            return {}
        own = {"iss": self._settings.client_id, "sub": self._settings.client_id}
        return {"client_id": own["sub"], "client_assertion_type": CLIENT, "client_assertion": self._signed(own)}

    def _basic(self) -> dict[str, str]:
        """RFC 6749 section 2.3.1: both parts form-encoded before they are joined."""
        if not self._secret:
            return {}
        pair = f"{quote(self._settings.client_id, safe='')}:{quote(self._secret, safe='')}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def _signed(self, said: Mapping[str, Json]) -> str:
        now = seconds(self._clock)
        times = {"iat": now, "exp": now + STATEMENT_SECONDS, "jti": secrets.token_urlsafe(24)}
        claims = {**said, "aud": self._settings.server or self._settings.token_url, **times}
        header = {"alg": self._algorithm, "typ": "JWT", "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])

    def _read(self, answer: Answer, *, exchanged: bool) -> tuple[str, int]:
        """The token and the seconds that it lives (RFC 8693 section 2.2.1, RFC 6749 section 5.1)."""
        try:
            said = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            said = None
        if answer.status != 200:
            word = said.get("error") if isinstance(said, dict) else None
            raise UpstreamFailed(
                f"the authorization server gives `{self._name}` no token for this: "
                f"{word if word in _ERRORS else f'status {answer.status}'}",
                sent=False,
                code="exchange.refused",
                remedy="ask whoever runs the authorization server to let the gate's client act for this person or agent",
            )
        fields: Mapping[str, Any] = said if isinstance(said, dict) else {}
        token, lives = fields.get("access_token"), fields.get("expires_in", STATEMENT_SECONDS)
        if (
            isinstance(token, str)
            and 0 < len(token) <= TOKEN_LENGTH_MAX
            and token.isascii()
            and token.isprintable()
            and " " not in token
            and str(fields.get("token_type")).lower() == "bearer"
            and (not exchanged or fields.get("issued_token_type") in {ACCESS, STATEMENT})
            and type(lives) is int
            and lives > 0
        ):
            return token, lives
        raise UpstreamFailed(
            f"the authorization server of `{self._name}` answered with no bearer token",
            sent=False,
            code="exchange.contract",
            remedy="the server must answer as RFC 8693 says: an access token, token_type Bearer, expires_in",
        )

    def _forget(self) -> None:
        """Make room: those whose time is over first, then the oldest."""
        if len(self._tokens) < TOKENS_MAX:
            return
        now = self._clock.monotonic()
        self._tokens = {whose: one for whose, one in self._tokens.items() if now < one.until}
        while len(self._tokens) >= TOKENS_MAX:
            del self._tokens[next(iter(self._tokens))]


def _whose(principal: Principal | None) -> tuple[str, str, str]:
    """Whose token it is; the gate's own is nobody's."""
    if principal is None:
        return "", "", ""
    return principal.tenant, principal.subject.id, principal.actor.id if principal.actor else ""


def _key(name: str, file: str) -> tuple[Key, str]:
    """The private key and its algorithm."""
    try:
        jwk = orjson.loads(Path(file).read_bytes())
        algorithm = "RS256" if jwk["kty"] == "RSA" else _ALGORITHMS[jwk["crv"]]
        key = import_key({"kid": jwk["kid"], "d": jwk["d"], **jwk})
    except (OSError, ValueError, KeyError, TypeError, JoseError):
        raise BadRequest(
            f"the key of connector `{name}`'s token exchange cannot be used",
            code="config.secret",
            remedy="`exchange.key_file` must hold one private JWK (P-256, P-384, Ed25519 or RSA) with a `kid`",
        ) from None
    return key, algorithm


def _secret(name: str, file: str) -> str:
    try:
        secret = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret or not secret.isprintable():
        raise BadRequest(
            f"the client's secret of connector `{name}`'s token exchange cannot be used",
            code="config.secret",
            remedy="`exchange.client_secret_file` must hold one line of visible ASCII",
        )
    return secret
