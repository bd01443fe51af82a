"""The flows of the development provider, on authlib's grant classes.

Each grant reads from ``self.server``, a ``broker.identity.dev.server.Server``: its clock, its shelves and its tokens.
authlib itself asks the host's clock in a few places; those methods are overridden here.
"""
# mypy: allow-subclassing-any

from dataclasses import dataclass, replace
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    TokenEndpointMixin,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, BaseGrant, ClientCredentialsGrant
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant
from joserfc.jwk import ECKey

from broker.clock import seconds
from broker.errors import Unauthenticated
from broker.identity.dev.people import DEVICE_GRANT, EXCHANGE_GRANT, PERSONA_GRANT, Client, SignedIn
from broker.identity.dev.signing import ALGORITHM
from broker.identity.jose import read_json_object, take_apart, verify

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, not a secret
CODE_SECONDS = 60
DEVICE_SECONDS = 600
ASSERTION_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code that waits for its one use."""

    value: str
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    code_challenge_method: str
    user: SignedIn

    def get_redirect_uri(self) -> str:
        """As authlib asks for it."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """As authlib asks for it."""
        return self.scope


class S256Challenge(CodeChallenge):
    """PKCE (RFC 7636), always, and only with S256."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a request without an S256 challenge; authlib would allow none at this point."""
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with code_challenge_method=S256 is required")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(AuthorizationCodeGrant):
    """Authorization code (RFC 6749 section 4.1) for public clients; answers name the issuer (RFC 9207)."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def create_authorization_response(
        self, redirect_uri: str, grant_user: SignedIn | None
    ) -> tuple[int, str, list[Any]]:
        """Redirect with ``code``, ``state`` and ``iss``."""
        status, body, headers = super().create_authorization_response(redirect_uri, grant_user)
        issuer = [("iss", self.server.issuer)]
        return status, body, [(name, add_params_to_uri(value, issuer)) for name, value in headers]

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Keep the code for a minute with everything it is bound to."""
        asked = request.payload.data
        bound = Code(
            value=code,
            client_id=request.client.client_id,
            redirect_uri=asked["redirect_uri"],
            scope=request.scope,
            code_challenge=asked["code_challenge"],
            code_challenge_method=asked["code_challenge_method"],
            user=replace(request.user, nonce=asked.get("nonce", "")),
        )
        self.server.codes.put(code, bound, CODE_SECONDS)

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """The code, used up by asking: a second use, right or wrong, finds nothing."""
        found: Code | None = self.server.codes.take(code)
        return found if found is not None and found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing to do: asking for a code already took it."""

    def authenticate_user(self, authorization_code: Code) -> SignedIn:
        """Who signed in when the code was made."""
        return authorization_code.user


@dataclass(slots=True)
class DeviceRequest:
    """A device that waits for a person (RFC 8628). Times are Unix seconds."""

    client_id: str
    scope: str
    user_code: str
    interval: int
    polled_at: int = 0
    user: SignedIn | None = None
    denied: bool = False

    def get_client_id(self) -> str:
        """As authlib asks for it."""
        return self.client_id

    def get_scope(self) -> str:
        """As authlib asks for it."""
        return self.scope

    def get_user_code(self) -> str:
        """As authlib asks for it."""
        return self.user_code

    def is_expired(self) -> bool:
        """False: the shelf forgets what has expired."""
        return False


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    """Hands out device and user codes."""

    CLIENT_AUTH_METHODS = ("none",)
    EXPIRES_IN = DEVICE_SECONDS

    def get_verification_uri(self) -> str:
        """Where the person goes."""
        return f"{self.server.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        """Keep the request until it expires."""
        allowed = self.server.query_client(client_id).get_allowed_scope(scope)
        waiting = DeviceRequest(client_id, allowed, data["user_code"], data["interval"])
        self.server.devices.put(data["device_code"], waiting, DEVICE_SECONDS)


class DeviceGrant(DeviceCodeGrant):
    """Lets the device ask whether its person has come."""

    GRANT_TYPE = DEVICE_GRANT
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def query_device_credential(self, device_code: str) -> DeviceRequest | None:
        """The waiting request."""
        found: DeviceRequest | None = self.server.devices.get(device_code)
        return found

    def query_user_grant(self, user_code: str) -> tuple[SignedIn | None, bool] | None:  # noqa: ARG002 - authlib's signature
        """The person's answer, taken off the shelf because it counts once; None while there is none."""
        device_code = self.request.payload.data["device_code"]
        waiting = self.server.devices.get(device_code)
        if waiting.user is None and not waiting.denied:
            return None
        self.server.devices.take(device_code)
        return waiting.user, not waiting.denied

    def should_slow_down(self, credential: DeviceRequest) -> bool:
        """RFC 8628 section 3.5: asking too soon makes the interval longer."""
        now = seconds(self.server.clock)
        early = now - credential.polled_at < credential.interval
        credential.polled_at = now
        if early:
            credential.interval += 5
        return early


class AgentGrant(ClientCredentialsGrant):
    """An agent for itself (RFC 6749 section 4.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)


class ExchangeGrant(BaseGrant, TokenEndpointMixin):
    """An agent on behalf of a person (RFC 8693): the person's token in, a token with ``act`` out.

    The authenticated client is the actor. The new token lives no longer than the person's, and does not carry the
    person's ``auth_time`` and ``acr``: presence cannot be handed on.
    """

    GRANT_TYPE = EXCHANGE_GRANT
    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)

    def validate_token_request(self) -> None:
        """Authenticate the agent, then read the person's token as strictly as the gate would."""
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise InvalidGrantError("this client may not exchange tokens")
        asked = self.request.payload.data
        if asked.get("subject_token_type") != ACCESS_TOKEN_TYPE:
            raise InvalidRequestError("subject_token_type must be that of an access token")
        if asked.get("requested_token_type", ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE:
            raise InvalidRequestError("requested_token_type must be that of an access token")
        if "actor_token" in asked:
            raise InvalidRequestError("the authenticated client is the actor: send no actor_token")
        for name in ("audience", "resource"):
            if asked.get(name, self.server.audience) != self.server.audience:
                raise InvalidRequestError("tokens are issued for this gate only")
        self.validate_requested_scope()
        self.request.client = client
        self.request.credential = self.server.own_person_token(asked.get("subject_token", ""))

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """The token with both parties, each with its own groups."""
        person, expires_at = self.request.credential
        client: Client = self.request.client
        scope = client.get_allowed_scope(self.request.payload.scope)
        token = self.server.access_token(
            {
                "sub": person.name,
                "groups": list(person.groups),
                "tenant": person.tenant,
                "act": {"sub": client.client_id, "groups": list(client.groups)},
            },
            client,
            scope,
            expires_at=expires_at,
        )
        return 200, {**token, "issued_token_type": ACCESS_TOKEN_TYPE}, self.TOKEN_RESPONSE_HEADER


class PersonaGrant(BaseGrant, TokenEndpointMixin):
    """A persona's token for scripts, against the code that ``serve --dev`` prints."""

    GRANT_TYPE = PERSONA_GRANT
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def validate_token_request(self) -> None:
        """One answer for a wrong persona and a wrong code."""
        self.request.client = self.authenticate_token_endpoint_client()
        if not self.request.client.check_grant_type(self.GRANT_TYPE):
            raise InvalidGrantError("this client may not sign people in")
        self.validate_requested_scope()
        asked = self.request.payload.data
        self.request.user = self.server.sign_in(asked.get("persona", ""), asked.get("code", ""))
        if self.request.user is None:
            raise InvalidGrantError("no such persona, a wrong code, or too many wrong codes within 30 seconds")

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """The persona's token."""
        scope = self.request.client.get_allowed_scope(self.request.payload.scope)
        token = self.generate_token(user=self.request.user, scope=scope, include_refresh_token=False)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class AgentAssertion(JWTBearerClientAssertion):
    """private_key_jwt (RFC 7523), read by the gate's own strict parser and clock; each assertion works once."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._server = server

    def resolve_client_public_key(self, client: Client) -> ECKey:
        """The key registered for the agent; a client without one cannot authenticate this way."""
        if client.key is None:
            raise InvalidClientError("this client has no key")
        return client.key

    def process_assertion_claims(self, assertion: str, resolve_key: ECKey) -> dict[str, Any]:
        """Verify signature, parties, audience, times and single use; raises InvalidClientError."""
        try:
            compact = take_apart(assertion)
            verify(compact, resolve_key, {ALGORITHM})
            claims = read_json_object(compact.payload, "assertion")
        except Unauthenticated:
            raise InvalidClientError("the client assertion does not verify") from None
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if not {self._server.issuer, f"{self._server.issuer}/token"}.intersection(
            a for a in named if isinstance(a, str)
        ):
            raise InvalidClientError("the client assertion is for another audience")
        now, expires, jti = seconds(self._server.clock), claims.get("exp"), claims.get("jti")
        if type(expires) is not int or not now < expires <= now + ASSERTION_SECONDS_MAX:
            raise InvalidClientError("the client assertion has expired or lives longer than 300 s")
        if claims.get("sub") != claims.get("iss") or not isinstance(jti, str) or not 8 <= len(jti) <= 255:
            raise InvalidClientError("the client assertion needs iss equal to sub, and a jti")
        if not self._server.use_once(f"{claims['sub']} {jti}", expires - now):
            raise InvalidClientError("the client assertion was used before")
        return claims
