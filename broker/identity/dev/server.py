"""The development provider's authorization server: authlib's, with our clients, clock and tokens."""
# mypy: allow-subclassing-any

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidGrantError, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from starlette.responses import JSONResponse, Response

from broker.clock import Clock, seconds
from broker.errors import Unauthenticated
from broker.identity.dev.grants import (
    AgentAssertion,
    AgentGrant,
    Code,
    CodeGrant,
    DeviceEndpoint,
    DeviceGrant,
    DeviceRequest,
    ExchangeGrant,
    PersonaGrant,
    S256Challenge,
)
from broker.identity.dev.people import SCOPES, Client, Persona, SignedIn
from broker.identity.dev.signing import ALGORITHM, TOKEN_SECONDS, SigningKeys
from broker.identity.dev.state import DevCode, Full, Shelf
from broker.identity.jose import bad_signature, read_json_object, take_apart, verify

ACR = "dev-code"
LOGOUT_SECONDS = 120


class FormRequest(OAuth2Request):
    """One request: method, public URL and its parameters, each at most once (the application checks that)."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        super().__init__(method, url, headers=dict(headers))
        self._parameters = dict(parameters)
        self.payload = BasicOAuth2Payload(self._parameters)

    @property
    def form(self) -> dict[str, str]:
        """The parameters, as the grants read them."""
        return self._parameters

    @property
    def args(self) -> dict[str, str]:
        """The same: no parameter may come twice, so where it stood makes no difference."""
        return self._parameters


@dataclass(frozen=True, slots=True)
class Realm:
    """Who issues, for which gate, and who exists; ``clients`` grows as agents are added."""

    issuer: str
    audience: str
    people: Mapping[str, Persona]
    clients: dict[str, Client]


class Server(AuthorizationServer):
    """Registers the grants and makes the tokens. Access tokens are RFC 9068, ten minutes, ES256."""

    def __init__(self, realm: Realm, clock: Clock, code: DevCode) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.issuer = realm.issuer
        self.audience = realm.audience
        self.people = realm.people
        self.clients = realm.clients
        self.clock = clock
        self.keys = SigningKeys(clock)
        self.codes: Shelf[Code] = Shelf(clock)
        self.devices: Shelf[DeviceRequest] = Shelf(clock)
        self._used: Shelf[bool] = Shelf(clock, entries_max=10_000)
        self._code = code
        self.register_token_generator("default", self._token)
        self.register_client_auth_method("private_key_jwt", AgentAssertion(self))
        self.register_grant(CodeGrant, [S256Challenge(required=True)])
        for grant in (DeviceGrant, AgentGrant, ExchangeGrant, PersonaGrant):
            self.register_grant(grant)
        self.register_endpoint(DeviceEndpoint)

    def query_client(self, client_id: str) -> Client | None:
        """A registered client."""
        return self.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Nothing: tokens are self-contained and never stored."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nothing listens."""

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        """The application already made it."""
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        """An answer that nobody caches."""
        kept = {name: value for name, value in headers if name.lower() != "content-type"} | {
            "Cache-Control": "no-store"
        }
        return JSONResponse(body, status, kept) if isinstance(body, dict) else Response(body, status, kept)

    def sign_in(self, persona: str, code: str, nonce: str = "") -> SignedIn | None:
        """The person, if the code is right; a wrong name costs an attempt like a wrong code."""
        known = self.people.get(persona)
        if not self._code.matches(code if known is not None else "") or known is None:
            return None
        return SignedIn(known, seconds(self.clock), nonce, secrets.token_urlsafe(16))

    def use_once(self, name: str, seconds_kept: int) -> bool:
        """False if ``name`` was used before, or if there is no room to remember it."""
        if self._used.get(name):
            return False
        try:
            self._used.put(name, value=True, seconds_kept=seconds_kept)
        except Full:
            return False
        return True

    def own_person_token(self, token: str) -> tuple[Persona, int]:
        """The persona of one of our own access tokens in force, and its expiry; raises InvalidGrantError."""
        try:
            compact = take_apart(token)
            key = self.keys.published().get(str(compact.header.get("kid")))
            if key is None or compact.header.get("typ") != "at+jwt":
                raise bad_signature("it is none of this provider's access tokens")
            verify(compact, key, {ALGORITHM})
            claims = read_json_object(compact.payload, "payload")
        except Unauthenticated:
            raise InvalidGrantError("the subject token is not one of this provider in force") from None
        person = self.people.get(claims["sub"])
        if person is None or "act" in claims or claims["exp"] <= seconds(self.clock):
            raise InvalidGrantError("the subject token must be a person's own, and in force")
        return person, int(claims["exp"])

    def access_token(
        self, claims: dict[str, Any], client: Client, scope: str, *, expires_at: int | None = None
    ) -> dict[str, Any]:
        """The token answer around an access token with ``claims``; never longer than ten minutes."""
        now = seconds(self.clock)
        expires = min(now + TOKEN_SECONDS, expires_at or now + TOKEN_SECONDS)
        payload = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "exp": expires,
            "jti": secrets.token_urlsafe(16),
            "client_id": client.client_id,
            "scope": scope,
            **claims,
        }
        token = self.keys.sign("at+jwt", payload)
        return {"access_token": token, "token_type": "Bearer", "expires_in": expires - now, "scope": scope}

    def _token(self, *, client: Client, user: SignedIn | None, scope: str | None, **_asked: Any) -> dict[str, Any]:
        """Make a token as authlib asks for one: a person's token, with an ID token for ``openid``; or the agent's own."""
        granted = client.get_allowed_scope(scope)
        if user is None:
            own = {"sub": client.client_id, "groups": list(client.groups), "tenant": client.tenant}
            return self.access_token(own, client, granted)
        person = user.persona
        about: dict[str, Any] = {"sub": person.name, "groups": list(person.groups), "tenant": person.tenant}
        about |= {"auth_time": user.auth_time, "acr": ACR, "amr": ["pin"]}
        answer = self.access_token(about, client, granted)
        if "openid" in granted.split():
            answer["id_token"] = self._id_token(user, client)
        return answer

    def _id_token(self, user: SignedIn, client: Client) -> str:
        now = seconds(self.clock)
        claims = {
            "iss": self.issuer,
            "sub": user.persona.name,
            "aud": client.client_id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "auth_time": user.auth_time,
            "acr": ACR,
            "sid": user.sid,
            "groups": list(user.persona.groups),
            "tenant": user.persona.tenant,
        }
        return self.keys.sign("JWT", claims | ({"nonce": user.nonce} if user.nonce else {}))

    def logout_token(self, client_id: str, *, subject: str = "", sid: str = "") -> str:
        """A logout token (OpenID Connect Back-Channel Logout 1.0) for ``client_id``."""
        now = seconds(self.clock)
        claims = {
            "iss": self.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + LOGOUT_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }
        named = {"sub": subject, "sid": sid}
        return self.keys.sign("logout+jwt", claims | {name: value for name, value in named.items() if value})
