"""The development identity provider as an ASGI application, to be mounted under the path of its issuer.

It exists so that a laptop has real tokens without an account anywhere. It serves this machine only, three times over:
it is not constructed without ``dev=True`` and a loopback issuer, it answers only peers on loopback, and only requests
whose Host is the issuer's own (a web page that rebinds its name to 127.0.0.1 has another).
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2 import OAuth2Error
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker.clock import Clock
from broker.identity.dev import pages
from broker.identity.dev.people import (
    CLIENT_GRANT,
    CODE_GRANT,
    DEVICE_GRANT,
    EXCHANGE_GRANT,
    PERSONA_GRANT,
    PERSONAS,
    SCOPES,
    Client,
    Persona,
    agent_client,
    clients,
)
from broker.identity.dev.server import ACR, FormRequest, Realm, Server
from broker.identity.dev.signing import ALGORITHM
from broker.identity.dev.state import DevCode, Full
from broker.identity.profiles import is_loopback

FORM_BYTES_MAX = 32_768
PARAMETERS_MAX = 32
_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"


def new_code() -> str:
    """A fresh code for ``serve --dev`` to print: ten characters without look-alikes, 49 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


class BadForm(Exception):
    """Parameters that could be read in two ways, or that no OAuth request has."""


class DevProvider:
    """An ASGI application. ``issuer`` is its public URL, such as ``http://localhost:8480/dev-idp``."""

    def __init__(  # noqa: PLR0913 - a composition root's arguments, each named
        self,
        issuer: str,
        *,
        dev: bool,
        audience: str,
        clock: Clock,
        code: str,
        agent: ECKey,
        people: Mapping[str, Persona] = PERSONAS,
        console_redirect_uris: tuple[str, ...] = (),
        signed_out_uris: tuple[str, ...] = (),
    ) -> None:
        """Raises ValueError unless this is development on loopback with a code that cannot be guessed."""
        parts = urlsplit(issuer)
        if not dev or parts.scheme != "http" or not is_loopback(parts.hostname or "") or issuer.endswith("/"):
            raise ValueError("the development identity provider runs with --dev and on this machine only")
        # authlib writes issued tokens to its debug log.
        logging.getLogger("authlib").setLevel(logging.INFO)
        self.issuer = issuer
        realm = Realm(issuer, audience, people, clients(agent, console_redirect_uris, signed_out_uris))
        self.server = Server(realm, clock, DevCode(code, clock))
        self._host = parts.netloc
        self._app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/device/authorize", self._device_authorize, methods=["POST"]),
                Route("/device", self._device, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/end-session", self._end_session),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer peers on this machine that ask for this host."""
        if scope["type"] == "http" and not self._is_local(scope):
            refusal = JSONResponse({"error": "access_denied", "error_description": "this machine only"}, 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def add_agent(
        self, client_id: str, key: ECKey, *, groups: tuple[str, ...] = ("agent",), tenant: str = "default"
    ) -> Client:
        """Register one more agent by its public key."""
        self.server.clients[client_id] = agent_client(client_id, key, groups, tenant)
        return self.server.clients[client_id]

    def jwks(self) -> bytes:
        """The key set, for a gate in the same process."""
        return self.server.keys.jwks()

    def metadata(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0 and RFC 8414, for a gate in the same process too."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "device_authorization_endpoint": f"{self.issuer}/device/authorize",
            "end_session_endpoint": f"{self.issuer}/end-session",
            "jwks_uri": f"{self.issuer}/jwks",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [CODE_GRANT, DEVICE_GRANT, CLIENT_GRANT, EXCHANGE_GRANT, PERSONA_GRANT],
            "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": [ALGORITHM],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "acr_values_supported": [ACR],
        }

    def redeem(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        """The token endpoint, for a gate in the same process."""
        answer = self.server.create_token_response(FormRequest("POST", f"{self.issuer}/token", {}, form))
        return answer.status_code, bytes(answer.body)

    def rotate_keys(self) -> None:
        """Sign with a new key from now on; the former stays published until its tokens have expired."""
        self.server.keys.rotate()

    def _is_local(self, scope: Scope) -> bool:
        peer = (scope.get("client") or ("", 0))[0]
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return bool(peer) and is_loopback(peer) and hosts == [self._host]

    async def _metadata(self, _request: Request) -> Response:
        return JSONResponse(self.metadata())

    async def _jwks(self, _request: Request) -> Response:
        return Response(self.jwks(), media_type="application/jwk-set+json", headers={"Cache-Control": "no-cache"})

    async def _token(self, request: Request) -> Response:
        return await self._oauth(request, self.server.create_token_response)

    async def _end_session(self, request: Request) -> Response:
        """OpenID Connect RP-Initiated Logout 1.0. Nobody stays signed in here, so there is nothing to end."""
        asked = request.query_params
        client = self.server.query_client(asked.get("client_id", ""))
        target = asked.get("post_logout_redirect_uri", "")
        if client is not None and target in client.signed_out_uris:
            return RedirectResponse(target, 303, {"Cache-Control": "no-store"})
        return pages.page("You are signed out", "<p>You can close this page.</p>")

    async def _device_authorize(self, request: Request) -> Response:
        return await self._oauth(
            request, lambda asked: self.server.create_endpoint_response("device_authorization", asked)
        )

    async def _oauth(self, request: Request, answer: Callable[[FormRequest], Response]) -> Response:
        """A machine's request: only what stands in the body counts."""
        try:
            form = FormRequest("POST", f"{self.issuer}/token", request.headers, await _read_form(request))
            return answer(form)
        except BadForm as error:
            return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
        except Full:
            return JSONResponse({"error": "temporarily_unavailable"}, 503, {"Retry-After": "60"})

    async def _authorize(self, request: Request) -> Response:
        """Show the sign-in page; with the code, answer the client."""
        try:
            asked = FormRequest("GET", f"{self.issuer}/authorize", {}, _parameters(request.url.query))
            form = await _read_form(request) if request.method == "POST" else {}
        except BadForm as error:
            return _unanswerable(str(error))
        try:
            grant = self.server.get_consent_grant(asked)
        except OAuth2Error as error:
            if error.redirect_uri:
                return _see_other(self.server.handle_error_response(asked, error))
            return _unanswerable(str(error.description))
        user, problem = None, ""
        if form.get("verdict") == "allow":
            user = self.server.sign_in(form.get("persona", ""), form.get("code", ""))
            problem = "" if user else _WRONG
        if request.method == "GET" or problem:
            action = f"{self.issuer}/authorize?{request.url.query}"
            return pages.sign_in(action, self.server.people, asked.client.client_id, problem=problem)
        try:
            return _see_other(self.server.create_authorization_response(asked, user, grant))
        except Full:
            return pages.page("Too many sign-ins wait", "", problem="try again in a minute", status=503)

    async def _device(self, request: Request) -> Response:
        """Show which device asks; with the code, let it in or refuse it."""
        action = f"{self.issuer}/device"
        try:
            form = await _read_form(request) if request.method == "POST" else _parameters(request.url.query)
        except BadForm as error:
            return _unanswerable(str(error))
        user_code = form.get("user_code", "").upper()
        if request.method == "GET":
            return pages.device(action, self.server.people, user_code)
        user = self.server.sign_in(form.get("persona", ""), form.get("code", ""))
        waiting = [
            d for d in self.server.devices.values() if d.user_code == user_code and d.user is None and not d.denied
        ]
        if user is None or not waiting:
            problem = _WRONG if user is None else "no device waits with this code; it may have expired"
            return pages.device(action, self.server.people, user_code, problem=problem)
        if form.get("verdict") == "allow":
            waiting[0].user = user
            return pages.page("The device is signed in", "<p>You can close this page.</p>")
        waiting[0].denied = True
        return pages.page("The device was refused", "<p>You can close this page.</p>")


_WRONG = "no such persona, a wrong code, or too many wrong codes within 30 seconds"


def _unanswerable(problem: str) -> Response:
    """The page for a request that names no place to send an answer to."""
    return pages.page("This request cannot be answered", "", problem=problem, status=400)


async def _read_form(request: Request) -> dict[str, str]:
    """The form of a POST; raises BadForm."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadForm("the body must be application/x-www-form-urlencoded")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise BadForm(f"the body is larger than {FORM_BYTES_MAX} bytes")
    try:
        return _parameters(body.decode("ascii"))
    except UnicodeDecodeError:
        raise BadForm("the body is not ASCII") from None


def _parameters(text: str) -> dict[str, str]:
    """Parameters, each once and of the characters that OAuth allows; raises BadForm."""
    try:
        pairs = parse_qsl(text, strict_parsing=bool(text), max_num_fields=PARAMETERS_MAX, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise BadForm("the parameters are not form-encoded, or too many") from None
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise BadForm("a parameter is given more than once")
        if not name.isascii():
            raise BadForm("a parameter has a name outside ASCII")
    # RFC 6749 appendix A: VSCHAR and space; authlib would raise on others while it words its error.
    if not all(" " <= character <= "~" and character not in '"\\' for _, value in pairs for character in value):
        raise BadForm("a parameter holds characters that are not allowed")
    return dict(pairs)


def _see_other(response: Response) -> Response:
    """303 instead of 302, so that the browser does not post the development code onwards (RFC 9700 section 4.12)."""
    location = response.headers.get("location")
    return RedirectResponse(location, 303, {"Cache-Control": "no-store"}) if location else response
