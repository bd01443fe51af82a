"""A person signs in to the console: OpenID Connect Core 1.0, authorization code with PKCE, and its two logouts.

The browser carries what belongs to one attempt (state, nonce, PKCE verifier, where to go) sealed under the gate's key,
so that any replica can finish it and nothing waits in memory or database. What the provider answers is checked here:
``state``, ``iss`` (RFC 9207), the ID token by the issuer's own keys, ``nonce``, and, where presence was asked for, that
the person really signed in again. Who the person is, in which tenant and with which roles, says the access token, read
by the same profile as every other; both tokens are forgotten as soon as they are read.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote

import orjson
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.clock import Clock, seconds
from broker.errors import BadRequest, Unauthenticated, Unavailable
from broker.identity.jose import ALGORITHMS
from broker.identity.keyset import Fetch
from broker.identity.profiles import IssuerProfile
from broker.identity.verifier import Credential, Verifier
from broker.model import Json, PartyKind, Principal
from broker.strictjson import read_object

ATTEMPT_SECONDS = 600
METADATA_SECONDS = 600
METADATA_BYTES_MAX = 1_048_576
LOGOUT_SECONDS_MAX = 120
"""Age of a logout token: within it, hearing one again ends nothing that it did not end before."""
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_SEALED_FOR = b"wicketgate console sign-in v1"

Post = Callable[[str, Mapping[str, str], str], Awaitable[tuple[int, bytes]]]
"""POST a form through egress: URL, the headers' ``Authorization`` (or empty) last; gives status and body."""


@dataclass(frozen=True, slots=True)
class Client:
    """The console as the provider knows it. ``secret`` empty: a public client, PKCE alone."""

    client_id: str
    redirect_uri: str
    signed_out_uri: str
    secret: str = ""
    scopes: tuple[str, ...] = ("openid",)
    resource: str = ""
    """RFC 8707: for providers that choose an access token's audience by it."""
    step_up_acr: tuple[str, ...] = ()
    """One of these must hold after a step-up; empty: any."""

    def __repr__(self) -> str:
        return f"Client({self.client_id})"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what it carries meanwhile."""

    url: str
    kept: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who came back, the provider's session, and where they wanted to go."""

    principal: Principal
    sid: str
    to: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What a logout token ends: the provider's session, or everything of a person (party id)."""

    subject: str
    sid: str


class SignIn:
    """Sign-in at one provider."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        profile: IssuerProfile,
        client: Client,
        verifier: Verifier,
        *,
        fetch: Fetch,
        post: Post,
        clock: Clock,
        key: bytes,
    ) -> None:
        """``key`` (32 bytes, the same on every replica) seals what the browser carries."""
        self._profile = profile
        self._client = client
        self._verifier = verifier
        self._fetch = fetch
        self._post = post
        self._clock = clock
        self._seal = AESGCM(key)
        self._metadata: tuple[float, Mapping[str, Json]] | None = None

    @property
    def issuer(self) -> str:
        """Name of the issuer's profile."""
        return self._profile.name

    # -- sign-in ----------------------------------------------------------------------------------------------------

    async def begin(self, to: str, *, fresh: bool = False) -> Begun:
        """Start an attempt that ends at ``to``; ``fresh`` asks for the person's presence now (step-up)."""
        metadata = await self._discovered()
        attempt = {
            "state": secrets.token_urlsafe(32),
            "nonce": secrets.token_urlsafe(32),
            "verifier": secrets.token_urlsafe(48),
            "to": to,
            "fresh": fresh,
            "at": seconds(self._clock),
        }
        more = {"prompt": "login", "max_age": "0"} if fresh else {}
        if fresh and self._client.step_up_acr:
            more["acr_values"] = " ".join(self._client.step_up_acr)
        if self._client.resource:
            more["resource"] = self._client.resource
        url = prepare_grant_uri(
            _url(metadata, "authorization_endpoint"),
            client_id=self._client.client_id,
            response_type="code",
            redirect_uri=self._client.redirect_uri,
            scope=list(self._client.scopes),
            state=attempt["state"],
            nonce=attempt["nonce"],
            code_challenge=create_s256_code_challenge(attempt["verifier"]),
            code_challenge_method="S256",
            **more,
        )
        return Begun(url, self._sealed(attempt))

    async def finish(self, query: str, kept: str) -> SignedIn:
        """Read the provider's answer; raises ``Unauthenticated`` (``login.*``) for anything that does not fit."""
        attempt, said = self._opened(kept), _parameters(query)
        if not hmac.compare_digest(said.get("state", "").encode(), str(attempt["state"]).encode()):
            raise _mismatch("its state is another one")
        metadata = await self._discovered()
        named = said.get("iss")
        if named != self._profile.issuer and (
            named is not None or metadata.get("authorization_response_iss_parameter_supported") is True
        ):
            raise _mismatch("it is from another provider")
        if "error" in said:
            raise Unauthenticated("the provider did not sign you in", code="login.refused", remedy="sign in again")
        if not said.get("code"):
            raise _mismatch("it holds no code")
        tokens = await self._redeem(metadata, said["code"], str(attempt["verifier"]))
        claims = await self._id_claims(tokens, attempt)
        principal = await self._verifier.authenticate(Credential(authorization=f"Bearer {tokens['access_token']}"))
        principal = self._person(principal, claims)
        if attempt["fresh"]:
            self._check_fresh(claims, int(attempt["at"]))
        return SignedIn(principal, _text(claims, "sid"), str(attempt["to"]))

    def _person(self, principal: Principal, claims: Mapping[str, Json]) -> Principal:
        """The access token's principal, if it is the person of the ID token, by their own sign-in."""
        if principal.actor is not None or principal.subject.kind is not PartyKind.HUMAN:
            raise Unauthenticated("only people sign in here", code="login.not_a_person", remedy="use the API instead")
        if principal.subject.id != self._party(claims):
            raise _mismatch("its two tokens are about different people")
        signed_in = claims.get("auth_time")
        return replace(
            principal,
            auth_time=signed_in if type(signed_in) is int else principal.auth_time,
            acr=next((one for one in self._client.step_up_acr if one in _methods(claims)), "")
            or _text(claims, "acr")
            or principal.acr,
        )

    def _check_fresh(self, claims: Mapping[str, Json], asked_at: int) -> None:
        """Providers may overlook ``max_age`` and ``acr_values``: what counts is what they say they did."""
        signed_in, leeway = claims.get("auth_time"), self._profile.leeway_seconds
        if type(signed_in) is not int or signed_in < asked_at - leeway:
            raise Unauthenticated(
                "the provider did not ask you to sign in again",
                code="login.not_fresh",
                remedy="sign out at the provider and sign in again; tell the operator that max_age is not honoured",
            )
        wanted = set(self._client.step_up_acr)
        if wanted and not wanted & _methods(claims):
            raise Unauthenticated(
                "the provider signed you in by a weaker method than this needs",
                code="login.acr",
                remedy="sign in with the stronger method; the operator sees the accepted ones in console.step_up_acr",
            )

    async def _redeem(self, metadata: Mapping[str, Json], code: str, verifier: str) -> Mapping[str, Json]:
        """The code's one use."""
        form = {
            "client_id": self._client.client_id,
            "code_verifier": verifier,
            **({"resource": self._client.resource} if self._client.resource else {}),
        }
        body = prepare_token_request("authorization_code", code=code, redirect_uri=self._client.redirect_uri, **form)
        authorization = ""
        if self._client.secret:
            # RFC 6749 section 2.3.1: both parts form-encoded before they are joined.
            pair = f"{quote(self._client.client_id, safe='')}:{quote(self._client.secret, safe='')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        status, answer = await self._post(
            _url(metadata, "token_endpoint"), dict(parse_qsl(body, strict_parsing=True)), authorization
        )
        if status != 200:
            raise Unauthenticated("the provider gave no tokens", code="login.refused", remedy="sign in again")
        tokens = read_object(answer, bytes_max=METADATA_BYTES_MAX, floats=True)
        for name in ("id_token", "access_token"):
            if not isinstance(tokens.get(name), str):
                raise _mismatch(f"it has no {name}")
        return tokens

    async def _id_claims(self, tokens: Mapping[str, Json], attempt: Mapping[str, Json]) -> Mapping[str, Json]:
        """OpenID Connect Core 1.0 section 3.1.3.7."""
        header, claims = await self._verifier.statement(self.issuer, str(tokens["id_token"]))
        kind = str(header.get("typ", "JWT")).lower()
        now, leeway = seconds(self._clock), self._profile.leeway_seconds
        audience = claims.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        checks = {
            "it is no ID token": kind == "jwt" and "events" not in claims,
            "it is for another client": self._client.client_id in listed
            and claims.get("azp", self._client.client_id) == self._client.client_id
            and (len(listed) == 1 or "azp" in claims),
            "its nonce is another one": hmac.compare_digest(
                _text(claims, "nonce").encode(), str(attempt["nonce"]).encode()
            ),
            "it is not in force": _whole(claims, "iat") <= now + leeway
            and now - leeway < _whole(claims, "exp")
            and _whole(claims, "iat") >= int(attempt["at"]) - leeway,
            "its two tokens do not belong together": _fits(claims, header, str(tokens["access_token"])),
        }
        for problem, holds in checks.items():
            if not holds:
                raise _mismatch(problem)
        return claims

    # -- logout -----------------------------------------------------------------------------------------------------

    async def logout_url(self) -> str:
        """OpenID Connect RP-Initiated Logout 1.0: where the browser ends the provider's session; empty without one.

        No ``id_token_hint``: no token is kept. Providers that insist on one ask the person instead.
        """
        try:
            endpoint = (await self._discovered()).get("end_session_endpoint")
        except Unavailable:
            return ""
        if not isinstance(endpoint, str) or not self._profile.may_fetch(endpoint):
            return ""
        asked = {"client_id": self._client.client_id, "post_logout_redirect_uri": self._client.signed_out_uri}
        return (
            endpoint
            + ("&" if "?" in endpoint else "?")
            + "&".join(f"{k}={quote(v, safe='')}" for k, v in asked.items())
        )

    async def ended(self, token: str) -> Ended:
        """OpenID Connect Back-Channel Logout 1.0 section 2.6; raises ``BadRequest`` (``login.logout_token``)."""
        try:
            header, claims = await self._verifier.statement(self.issuer, token)
        except Unauthenticated as error:
            raise _no_logout(error.detail) from None
        now, leeway = seconds(self._clock), self._profile.leeway_seconds
        audience, events = claims.get("aud"), claims.get("events")
        subject, sid = _text(claims, "sub"), _text(claims, "sid")
        checks = {
            "it is no logout token": str(header.get("typ", "")).lower() in ("logout+jwt", "application/logout+jwt")
            and isinstance(events, dict)
            and isinstance(events.get(LOGOUT_EVENT), dict)
            and "nonce" not in claims,
            "it is for another client": self._client.client_id
            in (audience if isinstance(audience, list) else [audience]),
            "it is not in force": now - LOGOUT_SECONDS_MAX - leeway < _whole(claims, "iat") <= now + leeway
            and ("exp" not in claims or _whole(claims, "exp") > now - leeway),
            "it has no jti": bool(_text(claims, "jti")),
            "it names neither person nor session": bool(subject or sid),
        }
        for problem, holds in checks.items():
            if not holds:
                raise _no_logout(problem)
        return Ended(self._party(claims) if subject else "", sid)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _party(self, claims: Mapping[str, Json]) -> str:
        return f"{self._profile.name}:{claims.get(self._profile.subject_path)}"

    async def _discovered(self) -> Mapping[str, Json]:
        """OpenID Connect Discovery 1.0, remembered for ten minutes; the document must name its issuer exactly."""
        now = self._clock.monotonic()
        if self._metadata is not None and now < self._metadata[0]:
            return self._metadata[1]
        try:
            raw = await self._fetch(self._profile.issuer.rstrip("/") + "/.well-known/openid-configuration")
            metadata = read_object(raw, bytes_max=METADATA_BYTES_MAX, floats=True)
        except (OSError, TimeoutError, BadRequest):
            raise _unreachable() from None
        endpoints = [metadata.get(name) for name in ("authorization_endpoint", "token_endpoint")]
        if metadata.get("issuer") != self._profile.issuer or not all(
            isinstance(one, str) and self._profile.may_fetch(one) for one in endpoints
        ):
            raise _unreachable()
        self._metadata = (now + METADATA_SECONDS, metadata)
        return metadata

    def _sealed(self, attempt: Mapping[str, Json]) -> str:
        nonce = secrets.token_bytes(12)
        sealed = nonce + self._seal.encrypt(nonce, orjson.dumps(attempt), _SEALED_FOR)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def _opened(self, kept: str) -> Mapping[str, Any]:
        """What ``begin`` sealed; raises for anything else, and for what is too old."""
        try:
            raw = base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4))
            attempt: Mapping[str, Any] = orjson.loads(self._seal.decrypt(raw[:12], raw[12:], _SEALED_FOR))
        except (InvalidTag, ValueError):
            raise _mismatch("this browser began no sign-in, or began another one since") from None
        if not 0 <= seconds(self._clock) - attempt["at"] <= ATTEMPT_SECONDS:
            raise _mismatch("it took too long")
        return attempt


def _methods(claims: Mapping[str, Json]) -> set[str]:
    """How the provider says that the person signed in: ``acr``, and Entra's ``acrs``."""
    listed = claims.get("acrs")
    return {
        _text(claims, "acr"),
        *(one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, str)),
    }


def _fits(claims: Mapping[str, Json], header: Mapping[str, Json], access_token: str) -> bool:
    """``at_hash``, where the provider gives it (section 3.1.3.6)."""
    stated = claims.get("at_hash")
    if stated is None:
        return True
    algorithm = str(header["alg"])
    bits = "512" if ALGORITHMS[algorithm][0] == "OKP" else algorithm[-3:]
    digest = hashlib.new(f"sha{bits}", access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
    return hmac.compare_digest(half.encode(), str(stated).encode())


def _parameters(query: str) -> dict[str, str]:
    """Parameters of the provider's answer, each once."""
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(query, max_num_fields=32, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise _mismatch("it cannot be read") from None
    if len(dict(pairs)) != len(pairs):
        raise _mismatch("a parameter is given twice")
    return dict(pairs)


def _url(metadata: Mapping[str, Json], name: str) -> str:
    return str(metadata[name])


def _text(claims: Mapping[str, Json], name: str) -> str:
    """Printable text of at most 255 characters, or empty."""
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= 255 and value.isprintable() else ""


def _whole(claims: Mapping[str, Json], name: str) -> int:
    """Whole seconds; anything else is long ago."""
    value = claims.get(name)
    return value if type(value) is int else -1


def _mismatch(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the provider's answer does not fit this sign-in: {why}",
        code="login.mismatch",
        remedy="start again from the console's first page, in one tab",
    )


def _no_logout(why: str) -> BadRequest:
    return BadRequest(
        f"the logout token is not accepted: {why}",
        code="login.logout_token",
        remedy="send the token as OpenID Connect Back-Channel Logout 1.0 says",
    )


def _unreachable() -> Unavailable:
    return Unavailable(
        "the identity provider cannot be reached, so nobody can sign in",
        code="login.provider",
        remedy="try again in a minute; tell the operator if it lasts",
        retry_after=10.0,
    )
