"""What every page of the console is given: who is signed in, a way to ask, a way to read a form, a way to answer.

A page has nothing else: no store, no connector, no clock. Each ``ask`` goes down the one path as the signed-in person.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from broker.breakglass import Breakglass
from broker.clock import Clock, seconds
from broker.errors import BadRequest, BrokerError, Denied, StepUpRequired, Unauthenticated
from broker.identity import Credential, Verifier
from broker.model import Json, Principal
from broker.pipeline import Pipeline
from broker.reading import GATE, Ask
from broker.web.console import nav, words
from broker.web.console.render import Renderer
from broker.web.problem import status_of

HOME = "/console"
SIGN_IN = "/console/signin"
GATE_RESOURCE: Mapping[str, str] = {"type": GATE.type, "id": GATE.id, "env": GATE.env}
PRESENCE = ("identity.presence_not_fresh", "identity.presence_unknown", "identity.acr_not_met")
"""Reasons of policy that a fresh sign-in takes away."""
OVER = ("login.unknown", "login.closed", "login.expired", "login.idle", "identity.unknown_issuer", "identity.missing")
"""Codes that a sign-in takes away."""
NOTICE_COOKIE = "wicketgate-told"
FIELDS_MAX = 200
_NOTICE_CHARACTERS = 300
_SEAL_CHARACTERS = 32
_FORM = "application/x-www-form-urlencoded"
_VISIT = "wicketgate.visit"


@dataclass(frozen=True, slots=True)
class Me:
    """The signed-in person, as templates see them."""

    id: str
    name: str
    roles: tuple[str, ...]
    tenant: str
    auth_time: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Told:
    """What an ask gave. ``status``: done, waiting (for an approval: ``body["approval"]``) or running."""

    value: dict[str, Any]
    receipt: dict[str, Any]
    status: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's person and the token of their forms."""

    principal: Principal
    csrf: str


class Desk:
    """One a process; every method takes the request."""

    def __init__(  # noqa: PLR0913 - the composition names each part once
        self,
        *,
        pipeline: Pipeline,
        identity: Verifier,
        renderer: Renderer,
        clock: Clock,
        key: bytes,
        cookie: str,
        url: str,
        grants: Callable[[], Mapping[str, Any] | None],
        development: bool,
        opened: Callable[[str], Awaitable[Sequence[Breakglass]]],
    ) -> None:
        """``key`` makes the forms' tokens; ``grants()`` are those of the active bundle; ``url`` the gate's address."""
        self._pipeline = pipeline
        self._identity = identity
        self._renderer = renderer
        self._clock = clock
        self._key = key
        self._grants = grants
        self._development = development
        self._opened = opened
        self.cookie = cookie
        self.secure = url.startswith("https:")

    # -- who --------------------------------------------------------------------------------------------------------

    def credential(self, request: Request) -> Credential:
        """The login that the request shows; raises ``Unauthenticated``. A page's own refreshing counts as no use."""
        value = request.cookies.get(self.cookie, "")
        if not value:
            raise Unauthenticated("nobody is signed in here", code="login.unknown", remedy="sign in")
        headers = request.headers
        passive = request.method == "GET" and headers.get("sec-fetch-dest", "document") != "document"
        return Credential(method=request.method, login=value, passive=passive)

    async def visit(self, request: Request) -> Visit:
        """Who is signed in, and the token of their forms; looked up once a request, before anything of it is read."""
        known: Visit | None = request.scope.get(_VISIT)
        if known is None:
            credential = self.credential(request)
            principal = await self._identity.authenticate(credential)
            known = request.scope[_VISIT] = Visit(principal, self._token(credential.login))
        return known

    def may(self, principal: Principal, action: str) -> str:
        """Why the person may not do ``action`` at the gate, or empty (``nav.why_not``)."""
        return nav.why_not(principal, self._grants(), action)

    async def first_page(self, request: Request) -> str:
        """The first page of the navigation that this person may open."""
        visit = await self.visit(request)
        listed = nav.entries(visit.principal, self._grants(), HOME)
        return next((one.path for one in listed if not one.why_not), listed[-1].path)

    # -- ask --------------------------------------------------------------------------------------------------------

    async def ask(  # noqa: PLR0913 - one keyword a part of the ask
        self,
        request: Request,
        action: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        reason: str = "",
        session: str = "",
        key: str = "",
        resource: Mapping[str, str] = GATE_RESOURCE,
    ) -> Told:
        """One action of the signed-in person, decided and recorded; raises the ``BrokerError`` that stopped it."""
        ask = Ask(action, dict(resource), dict(arguments or {}), session=session, reason=reason, idempotency_key=key)
        answer = await self._pipeline.act(self.credential(request), ask)
        body: dict[str, Any] = dict(answer.body)
        value = body["result"]["value"] if answer.status == "done" else {}
        return Told(value if isinstance(value, dict) else {"value": value}, body["receipt"], answer.status, body)

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form that this person's own page sent, each once; lists: see ``fields``."""
        pairs = await self.fields(request)
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twice:
            raise BadRequest(
                f"field `{twice[0][:64]}` is given twice", code="console.form", remedy=words.problem.csrf_remedy
            )
        return dict(pairs)

    async def fields(self, request: Request) -> list[tuple[str, str]]:
        """As ``form``, with fields that may come more than once, in their order.

        Raises ``Denied`` (``console.csrf``) unless the browser says that the gate's own page sent it
        (``Sec-Fetch-Site``, which no script can set) and the token is that of this login.
        """
        visit = await self.visit(request)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            raw = (await request.body()).decode("utf-8")
            pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
        except ValueError:
            media = ""
        if media != _FORM:
            raise BadRequest(words.problem.form, code="console.form", remedy=words.problem.csrf_remedy)
        given = request.headers.get("x-csrf-token") or dict(pairs).get("csrf", "")
        same_site = request.headers.get("sec-fetch-site") == "same-origin"
        if not same_site or not hmac.compare_digest(given.encode(), visit.csrf.encode()):
            raise Denied(words.problem.csrf, code="console.csrf", remedy=words.problem.csrf_remedy)
        return [(name, value.replace("\r\n", "\n")) for name, value in pairs if name != "csrf"]

    # -- answer -----------------------------------------------------------------------------------------------------

    async def render(
        self, request: Request, template: str, page: object, *, title: str = "", status: int = 200
    ) -> Response:
        """``template`` around the view model ``page``, for the person who is signed in."""
        visit = await self.visit(request)
        context = {**self._context(request, visit, page, title), "glass": await self._glass(visit)}
        answer = self._renderer.page(template, context, status)
        if request.cookies.get(NOTICE_COOKIE) and request.method == "GET":
            answer.delete_cookie(NOTICE_COOKIE, path=HOME, secure=self.secure, httponly=True, samesite="lax")
        return answer

    def public(self, request: Request, template: str, page: object, *, title: str, status: int = 200) -> HTMLResponse:
        """A page for whoever is not signed in."""
        return self._renderer.page(template, self._context(request, None, page, title), status)

    def see_other(self, path: str, *, told: str = "") -> Response:
        """On to ``path``, a path of the console; ``told`` is shown there once."""
        answer = RedirectResponse(path, 303, self._renderer.headers())
        if told:
            text = told[:_NOTICE_CHARACTERS]
            notice = self._seal(text) + quote(text)
            answer.set_cookie(
                NOTICE_COOKIE, notice, max_age=60, path=HOME, secure=self.secure, httponly=True, samesite="lax"
            )
        return answer

    async def refusal(self, request: Request, error: BrokerError) -> Response:
        """What a person sees instead of the page. Who is not signed in goes to sign in, and comes back."""
        if error.error_code in OVER:
            return self._to_sign_in(request)
        return await self.problem(request, error)

    async def problem(self, request: Request, error: BrokerError) -> Response:
        """The page of a refusal, whoever asks."""
        page = _problem(error, _again(request, error))
        try:
            visit: Visit | None = await self.visit(request)
        except BrokerError:
            visit = None
        context = {**self._context(request, visit, page, words.problem.title), "glass": await self._glass(visit)}
        answer = self._renderer.page("problem.html", context, status_of(error))
        if error.retry_after is not None:
            answer.headers["Retry-After"] = str(max(1, round(error.retry_after)))
        return answer

    def plainly(self, error: BrokerError) -> HTMLResponse:
        """A refusal in plain words, for when no template can be filled."""
        return self._renderer.plain(words.problem.failed, error.detail, error.error_remedy, status_of(error))

    def _to_sign_in(self, request: Request) -> Response:
        """To the sign-in and back; a part of a page that is refreshed takes its page along."""
        to = SIGN_IN + "?to=" + quote(_back(request), safe="")
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={**self._renderer.headers(), "HX-Redirect": to})
        return RedirectResponse(to, 303, self._renderer.headers())

    def _context(self, request: Request, visit: Visit | None, page: object, title: str) -> dict[str, Any]:
        path = request.scope["path"]
        who = visit.principal if visit else None
        grants = self._grants()
        return {
            "page": page,
            "title": title,
            "path": path,
            "now": seconds(self._clock),
            "me": _me(who) if who else None,
            "csrf": visit.csrf if visit else "",
            "glass": [],
            "nav": nav.entries(who, grants, path) if who else [],
            "may": lambda action: nav.why_not(who, grants, action) if who else words.common.sign_in,
            "told": self._notice(request) if who else "",
            "development": self._development,
        }

    async def _glass(self, visit: Visit | None) -> list[Breakglass]:
        """Break-glasses that everybody is told of: what is open, and what nobody has looked back at in time.

        A page without an answer of the database is a page of its own trouble, and says that instead.
        """
        if visit is None:
            return []
        try:
            found = await self._opened(visit.principal.tenant)
        except BrokerError:
            return []
        now = seconds(self._clock)
        return [one for one in found if one.state == "open" or one.overdue(now)]

    def _notice(self, request: Request) -> str:
        """What ``see_other`` told, if this gate said it."""
        kept = request.cookies.get(NOTICE_COOKIE, "")
        text = unquote(kept[_SEAL_CHARACTERS:])
        return text if hmac.compare_digest(kept[:_SEAL_CHARACTERS].encode(), self._seal(text).encode()) else ""

    def _seal(self, text: str) -> str:
        return hmac.new(self._key, b"notice " + text.encode(), hashlib.sha256).hexdigest()[:_SEAL_CHARACTERS]

    def _token(self, login: str) -> str:
        """The token of one login's forms: nothing else's, and nothing of the login can be had from it."""
        return hmac.new(self._key, b"form " + login.encode(), hashlib.sha256).hexdigest()


def local_path(text: str) -> str:
    """``text`` if it is a path of the console, else the console's first page: no sign-in leads anywhere else."""
    path = text.partition("?")[0]
    plain = text.isascii() and text.isprintable() and "\\" not in text and len(text) <= 2_000
    plain = plain and "/." not in path and "//" not in path and "%" not in path
    parts = urlsplit(text) if plain else None
    if parts is None or parts.scheme or parts.netloc or not (text == HOME or text.startswith((HOME + "/", HOME + "?"))):
        return HOME
    return text


def _back(request: Request) -> str:
    """The page that the person is on: this one, or the one that a form or a fragment stands in."""
    if request.method == "GET" and "hx-request" not in request.headers:
        query = request.scope["query_string"].decode("latin-1")
        return local_path(request.scope["path"] + (f"?{query}" if query else ""))
    current = urlsplit(request.headers.get("hx-current-url", ""))
    return local_path(current.path + (f"?{current.query}" if current.query else "")) if current.path else HOME


def _again(request: Request, error: BrokerError) -> str:
    """Where to sign in again, where that is what is missing; else empty."""
    presence = isinstance(error, StepUpRequired) and error.error_code != "approval.signature"
    if presence or any(reason.code in PRESENCE for reason in error.reasons):
        return f"{SIGN_IN}?again=1&to=" + quote(_form_page(request), safe="")
    return ""


def _form_page(request: Request) -> str:
    """The page whose form was refused: a form's own address is its page's, or below it."""
    back = _back(request)
    return back if back != HOME or request.method == "GET" else local_path(request.scope["path"].rpartition("/")[0])


def _me(principal: Principal) -> Me:
    return Me(
        id=principal.subject.id,
        name=principal.subject.id.partition(":")[2],
        roles=tuple(sorted(principal.subject.roles)),
        tenant=principal.tenant,
        auth_time=principal.auth_time or 0,
        expires_at=principal.expires_at,
    )


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A refusal as people read it."""

    heading: str
    detail: str
    code: str
    reasons: list[tuple[str, str]]
    """What to do, and the stable code of the reason."""
    decision: str
    receipt: tuple[str, int] | None
    retry: int
    again: str


def _problem(error: BrokerError, again: str) -> ProblemView:
    headings = {
        401: words.problem.again,
        403: words.problem.refused,
        404: words.problem.not_found,
        500: words.problem.failed,
        503: words.problem.unavailable,
    }
    reasons = [(one.remedy or error.error_remedy, one.code) for one in error.reasons]
    return ProblemView(
        heading=words.problem.again if again else headings.get(status_of(error), words.problem.title),
        detail=error.detail,
        code=error.error_code,
        reasons=reasons or [(error.error_remedy, error.error_code)],
        decision=error.decision_id,
        receipt=(error.receipt.log, error.receipt.seq) if error.receipt else None,
        retry=max(1, round(error.retry_after)) if error.retry_after is not None else 0,
        again=again,
    )
