"""A person with a browser, without the browser: signs in through the provider's own pages, keeps cookies, sends forms."""

import re
from collections.abc import Mapping
from html import unescape
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.sim.world import CODE, URL, World

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


class Visitor:
    """One browser. ``client`` is its jar; ``page`` the last answer."""

    def __init__(self, it: World, *, peer: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(app=it.app, client=(peer, 40001))  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url=URL, timeout=90)
        self.page = httpx.Response(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    @property
    def text(self) -> str:
        """The page's markup, entities read."""
        return unescape(self.page.text)

    @property
    def login(self) -> str:
        """The login cookie's value."""
        return next((one.value or "" for one in self.client.cookies.jar if one.name == "wicketgate-8480"), "")

    @login.setter
    def login(self, value: str) -> None:
        for one in [one for one in self.client.cookies.jar if one.name == "wicketgate-8480"]:
            self.client.cookies.jar.clear(one.domain, one.path, one.name)
        self.client.cookies.set("wicketgate-8480", value, domain="localhost.local", path="/")

    async def open(self, path: str, **headers: str) -> httpx.Response:
        """GET a page without following anything."""
        self.page = await self.client.get(path, headers={**SAME_ORIGIN, **headers})
        return self.page

    async def sign_in(self, persona: str, *, to: str = "/console/health", again: bool = False) -> httpx.Response:
        """From the page wanted, over the provider's form, to where the console leads; the last answer."""
        start = f"/console/signin?to={to}" + ("&again=1" if again else "")
        answer = await self.open(start)
        assert answer.status_code == 303, answer.text
        return await self.at_provider(answer.headers["location"], persona)

    async def at_provider(self, authorize: str, persona: str, **changes: str) -> httpx.Response:
        """Fill the provider's form and follow it back."""
        assert (await self.client.get(authorize)).status_code == 200
        form = {"persona": persona, "code": CODE, "verdict": "allow", **changes}
        back = await self.client.post(authorize, data=form)
        assert back.status_code == 303, back.text
        done = await self.open(back.headers["location"], **{"Sec-Fetch-Site": "cross-site"})
        if done.status_code != 303:
            return done
        return await self.open(done.headers["location"])

    async def token(self, path: str = "/console/health") -> str:
        """The form token that this person's pages carry."""
        found = _TOKEN.search((await self.open(path)).text)
        assert found, self.page.text
        return found.group(1)

    async def send(
        self, path: str, fields: Mapping[str, Any] | None = None, *, token: str | None = None, **headers: str
    ) -> httpx.Response:
        """POST a form as the person's own page does; ``token`` another one; headers replace the browser's."""
        given = token if token is not None else await self.token()
        data = {"csrf": given, **(fields or {})}
        self.page = await self.client.post(path, data=data, headers={**SAME_ORIGIN, **headers})
        return self.page


async def signed_in(it: World, persona: str) -> Visitor:
    """A person who has just signed in."""
    visitor = Visitor(it)
    answer = await visitor.sign_in(persona)
    assert urlsplit(str(answer.url)).path.startswith("/console"), answer.text
    assert visitor.login
    return visitor
