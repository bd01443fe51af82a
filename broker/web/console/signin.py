"""The browser's side of signing in and out; what is checked of the provider stands in ``broker/identity/login.py``."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from broker.errors import BadRequest, BrokerError, NotFound
from broker.identity import SignIn
from broker.identity.login import ATTEMPT_SECONDS
from broker.logins import Logins
from broker.parties import Parties
from broker.telemetry import Telemetry
from broker.web.console import words
from broker.web.console.desk import HOME, SIGN_IN, Desk, local_path

SIGNED_OUT = "/console/signedout"
ELSEWHERE = frozenset({"cross-site", "same-site"})
"""What a browser says of a request that a page of another origin led to (Fetch Metadata)."""


@dataclass(frozen=True, slots=True)
class SignInView:
    """``on`` is where a click leads to the provider."""

    on: str


@dataclass(frozen=True, slots=True)
class SignedOutView:
    """``provider`` is where the provider's own session ends, or empty."""

    provider: str


class SignInPages:
    """Sign-in, callback, sign-out, back-channel logout."""

    def __init__(
        self, desk: Desk, sign_in: SignIn | None, logins: Logins, parties: Parties, telemetry: Telemetry
    ) -> None:
        """Without ``sign_in`` nobody can sign in, and the page says what to configure.

        Telemetry has a line of each sign-in and of each end of one; who it was says the log, at the first page.
        """
        self._parties = parties
        self._telemetry = telemetry
        self._desk = desk
        self._sign_in = sign_in
        self._logins = logins
        self._attempt = desk.cookie + "-signin"

    async def console_signin(self, request: Request) -> Response:
        """GET /console/signin: to the provider; ``again`` asks for presence now, ``to`` is where to end.

        Whom another site's page led here is asked first: the provider may still know the person, and then nobody but that
        site would have wanted the login.
        """
        to, again = local_path(request.query_params.get("to", HOME)), request.query_params.get("again") == "1"
        try:
            provider = self._provider()
            if request.headers.get("sec-fetch-site") in ELSEWHERE:
                page = SignInView(f"{SIGN_IN}?to={quote(to, safe='')}" + ("&again=1" if again else ""))
                return self._desk.public(request, "signin.html", page, title=words.signin.sign_in)
            begun = await provider.begin(to, fresh=again)
        except BrokerError as error:
            return await self._desk.problem(request, error)
        answer = RedirectResponse(begun.url, 303)
        self._set(answer, self._attempt, begun.kept, ATTEMPT_SECONDS)
        return answer

    async def console_callback(self, request: Request) -> Response:
        """GET /console/callback: a new login, and with it the end of the one that this browser had."""
        try:
            provider = self._provider()
            query = request.scope["query_string"].decode("latin-1")
            done = await provider.finish(query, request.cookies.get(self._attempt, ""))
            # What the provider says now bounds the person's roles from here on, regained ones too.
            await self._parties.note(done.principal)
            value = await self._logins.open(
                done.principal,
                issuer=provider.issuer,
                sid=done.sid,
                instead_of=request.cookies.get(self._desk.cookie, ""),
            )
        except BrokerError as error:
            self._telemetry.refused(error.error_code)
            return await self._desk.problem(request, error)
        self._telemetry.event(
            "login.opened", session=self._logins.name_of(value), issuer=provider.issuer, method=done.principal.acr
        )
        answer = self._desk.see_other(done.to)
        self._set(answer, self._desk.cookie, value)
        self._drop(answer, self._attempt)
        return answer

    async def console_signout(self, request: Request) -> Response:
        """POST /console/signout: here at once, then at the provider."""
        await self._desk.form(request)
        value = self._desk.credential(request).login
        await self._logins.close(value)
        self._telemetry.event("login.closed", session=self._logins.name_of(value), by="person")
        provider = await self._sign_in.logout_url() if self._sign_in else ""
        page = SignedOutView(provider)
        answer = self._desk.public(request, "signedout.html", page, title=words.signin.signed_out)
        if provider:
            # A redirect of a form to another origin is what form-action forbids.
            answer.headers["Refresh"] = f"0; url={provider}"
        self._drop(answer, self._desk.cookie)
        return answer

    async def console_signedout(self, request: Request) -> Response:
        """GET /console/signedout: where the provider sends the browser afterwards."""
        return self._desk.public(request, "signedout.html", SignedOutView(""), title=words.signin.signed_out)

    async def console_backchannel(self, request: Request) -> Response:
        """POST /console/backchannel (OpenID Connect Back-Channel Logout 1.0 section 2.8): the provider itself asks."""
        provider = self._provider()
        pairs = parse_qsl((await request.body()).decode("latin-1"), max_num_fields=8)
        tokens = [value for name, value in pairs if name == "logout_token"]
        if len(tokens) != 1:
            raise BadRequest("one field `logout_token` is required", code="login.logout_token")
        ended = await provider.ended(tokens[0])
        closed = await self._logins.close_all(provider.issuer, subject=ended.subject, sid=ended.sid)
        self._telemetry.event("login.closed", issuer=provider.issuer, by="provider", closed=closed)
        return PlainTextResponse("", headers={"Cache-Control": "no-store"})

    def _provider(self) -> SignIn:
        if self._sign_in is None:
            raise NotFound(
                words.problem.not_configured,
                code="console.not_configured",
                remedy=words.problem.not_configured_remedy,
            )
        return self._sign_in

    def _set(self, answer: Response, name: str, value: str, seconds: int | None = None) -> None:
        """A cookie for this host alone, that no script reads and no other site's form brings along."""
        answer.set_cookie(
            name, value, max_age=seconds, path="/", secure=self._desk.secure, httponly=True, samesite="lax"
        )

    def _drop(self, answer: Response, name: str) -> None:
        answer.delete_cookie(name, path="/", secure=self._desk.secure, httponly=True, samesite="lax")
