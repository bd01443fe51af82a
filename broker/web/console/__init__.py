"""The console: server-rendered pages for people, a skin over the one path."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console.desk import HOME, Desk
from broker.web.console.pages.agents import AgentsPage
from broker.web.console.pages.approval import ApprovalPage
from broker.web.console.pages.audit import AuditPages
from broker.web.console.pages.breakglass import BreakglassPage
from broker.web.console.pages.exports import ExportsPage
from broker.web.console.pages.health import HealthPage
from broker.web.console.pages.inbox import InboxPage
from broker.web.console.pages.incidents import IncidentPages
from broker.web.console.pages.keys import KeysPage
from broker.web.console.pages.live import LivePage
from broker.web.console.pages.observation import ObservationPage
from broker.web.console.pages.policies import PolicyPages
from broker.web.console.pages.redaction import RedactionPage
from broker.web.console.pages.simulate import SimulatePage
from broker.web.console.pages.usage import UsagePage
from broker.web.console.render import Renderer
from broker.web.console.signin import SignInPages
from broker.web.console.static import StaticFiles
from broker.web.events import Streaming
from broker.wiring import Wiring

PAGES: tuple[type, ...] = (
    ApprovalPage,
    BreakglassPage,
    InboxPage,
    AuditPages,
    HealthPage,
    IncidentPages,
    KeysPage,
    ObservationPage,
    PolicyPages,
    SimulatePage,
    UsagePage,
)
"""One class a page; each takes the desk and has the handlers that ``web/routes.py`` names."""


class Home:
    """The first page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_home(self, request: Request) -> Response:
        """GET /console: to the first page of the navigation that this person may open."""
        return self._desk.see_other(await self._desk.first_page(request))


def console(gate: Wiring) -> tuple[Desk, tuple[object, ...]]:
    """The desk, and every object that has handlers of the console."""
    static = StaticFiles()
    url = gate.settings.url
    renderer = Renderer(static=static.address, secure=url.startswith("https:"))
    desk = Desk(
        pipeline=gate.pipeline,
        identity=gate.identity,
        renderer=renderer,
        clock=gate.clock,
        key=gate.keys.secret("console.key"),
        cookie=cookie_name(url),
        url=url,
        grants=lambda: gate.policy.active.content.config.get("grants") if gate.policy.active else None,
        development=gate.development is not None,
        opened=gate.breakglass.owed,
    )
    pages = tuple(page(desk) for page in PAGES)
    return desk, (
        static,
        Home(desk),
        SignInPages(desk, gate.sign_in, gate.logins, gate.parties, gate.telemetry),
        LivePage(desk, Streaming.of(gate), renderer),
        AgentsPage(desk, gate.kills.check, gate.acts.kill),
        ExportsPage(desk, gate.exports.content),
        RedactionPage(desk, gate.lab),
        *pages,
    )


def cookie_name(url: str) -> str:
    """The login cookie's name: bound to the host on https; on http (this machine only) by port, as cookies are not."""
    parts = urlsplit(url)
    return "__Host-wicketgate" if parts.scheme == "https" else f"wicketgate-{parts.port or 80}"


__all__ = ["HOME", "Desk", "console", "cookie_name"]
