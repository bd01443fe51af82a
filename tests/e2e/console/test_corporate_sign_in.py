"""The console against the certified npm ``oidc-provider``: its pages, its codes, its logouts, over real sockets."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from broker.clock import SeededClock
from demo.wire import Answer, Asked, LoopbackServer
from tests.e2e.console.test_reviewing import proposed
from tests.sim.identity_providers import AUDIENCE, form_of, node_world
from tests.sim.visitor import SAME_ORIGIN, Visitor
from tests.sim.world import URL, World, world

HEALTH = "/console/health"


class HostsClock(SeededClock):
    """The host's time: the provider has no other."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Corporation:
    """The gate, its provider, and the logout tokens that the provider sent."""

    it: World
    issuer: str
    told: list[bytes] = field(default_factory=list)


class Employee(Visitor):
    """A browser with a jar at the provider, too."""

    def __init__(self, it: World) -> None:
        super().__init__(it)
        self.outside = httpx.AsyncClient(trust_env=False, timeout=90)

    async def __aexit__(self, *_: object) -> None:
        await self.outside.aclose()
        await super().__aexit__()

    async def walk(self, address: str, person: str = "") -> str:
        """Follow the provider's redirects and forms until it sends the browser to the gate; that address."""
        page = await self.outside.get(address)
        for _ in range(12):
            if page.is_redirect:
                target = str(page.url.join(page.headers["location"]))
                if target.startswith(URL):
                    return target
                page = await self.outside.get(target)
                continue
            action, fields = form_of(page)
            if 'name="login"' in page.text:
                assert person, "the provider asks who it is"
                fields |= {"login": person, "password": "x"}
            if "logout" in page.text:
                fields["logout"] = "yes"
            page = await self.outside.post(action, data=fields)
        raise AssertionError(page.text)

    async def come(self, person: str = "", *, to: str = HEALTH, again: bool = False) -> httpx.Response:
        """Sign in, from the page wanted to where the console leads."""
        start = await self.open("/console/signin?" + urlencode({"to": to, **({"again": "1"} if again else {})}))
        assert start.status_code == 303, start.text
        return await self.back(await self.walk(start.headers["location"], person))

    async def back(self, callback: str) -> httpx.Response:
        """From the provider to the gate."""
        done = await self.open(callback, **{"Sec-Fetch-Site": "cross-site"})
        return await self.open(done.headers["location"]) if done.status_code == 303 else done


@asynccontextmanager
async def corporation(folder: Path, more: str = "") -> AsyncIterator[Corporation]:
    told: list[bytes] = []

    def receive(asked: Asked) -> Answer:
        told.append(asked.body)
        return Answer(200, b"")

    ears = LoopbackServer(0, receive)
    hearing = asyncio.create_task(asyncio.to_thread(ears.serve_forever, 0.05))
    (folder / "console.secret").write_text("console-secret")
    (folder / "console.secret").chmod(0o600)
    try:
        async with node_world(folder, f"http://127.0.0.1:{ears.port}/backchannel") as provider:
            extra = f"""
[[identity.issuers]]
name = "corp"
issuer = {json.dumps(provider.issuer)}
audiences = [{json.dumps(AUDIENCE)}]
tenant = "default"
roles = {{sre = "oncall", security = "security"}}
allow_networks = ["127.0.0.1/32"]
[console]
issuer = "corp"
client_id = "console"
client_secret_file = {json.dumps(str(folder / "console.secret"))}
resource = {json.dumps(AUDIENCE)}
{more}
"""
            async with world(folder, extra=extra, clock=HostsClock()) as it:
                yield Corporation(it, provider.issuer, told)
    finally:
        ears.shutdown()
        await hearing
        ears.server_close()


def test_a_person_signs_in_by_code_with_pkce_nonce_and_issuer(tmp_path: Path) -> None:
    async def main() -> None:
        async with corporation(tmp_path) as corp, Employee(corp.it) as alice:
            asked = parse_qs(urlsplit((await alice.open(f"/console/signin?to={HEALTH}")).headers["location"]).query)
            assert asked["code_challenge_method"] == ["S256"]
            assert len(asked["nonce"][0]) >= 43
            page = await alice.come("alice")
            assert (page.status_code, page.url.path) == (200, HEALTH)
            assert "corp:alice" in page.text
            assert "Development identity provider" not in page.text.partition("<main")[2].partition("<h1")[0]
            assert (await alice.come(to=HEALTH)).status_code == 200, (
                "the provider remembers; the gate makes a new login"
            )

    asyncio.run(main())


def test_an_answer_that_was_changed_or_is_anothers_signs_nobody_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with corporation(tmp_path) as corp:
            for name, value, said in (
                ("iss", "http://127.0.0.1:1/other", "it is from another provider"),
                ("iss", None, "it is from another provider"),
                ("state", "another", "its state is another one"),
            ):
                async with Employee(corp.it) as alice:
                    start = await alice.open("/console/signin")
                    landed = urlsplit(await alice.walk(start.headers["location"], "alice"))
                    query = {key: one for key, (one,) in parse_qs(landed.query).items()}
                    assert query["iss"] == corp.issuer
                    changed = {key: one for key, one in {**query, name: value}.items() if one is not None}
                    refused = await alice.client.get(landed.path, params=changed, headers=SAME_ORIGIN)
                    assert refused.status_code == 401
                    assert said in refused.text
                    assert not alice.login
            async with Employee(corp.it) as alice, Employee(corp.it) as mallory:
                theirs = urlsplit(
                    await mallory.walk((await mallory.open("/console/signin")).headers["location"], "bob")
                )
                ours = urlsplit(await alice.walk((await alice.open("/console/signin")).headers["location"], "alice"))
                code, state = parse_qs(theirs.query)["code"][0], parse_qs(ours.query)["state"][0]
                query = {"code": code, "state": state, "iss": corp.issuer}
                injected = await alice.client.get(ours.path, params=query, headers=SAME_ORIGIN)
                assert injected.status_code == 401, "a code of another attempt has another verifier"
                assert "the provider gave no tokens" in injected.text

    asyncio.run(main())


def test_a_review_needs_presence_and_the_method_that_is_configured(tmp_path: Path) -> None:
    async def main() -> None:
        strong = 'step_up_acr = ["strong"]'
        async with corporation(tmp_path, strong) as corp, Employee(corp.it) as alice, Employee(corp.it) as bob:
            start = await alice.open("/console/signin?again=1")
            asked = parse_qs(urlsplit(start.headers["location"]).query)
            assert (asked["max_age"], asked["prompt"], asked["acr_values"]) == (["0"], ["login"], ["strong"])
            weak = await alice.back(await alice.walk(start.headers["location"], "alice"))
            assert weak.status_code == 401
            assert "a weaker method" in weak.text
            assert not alice.login
            waiting = await proposed(corp.it)
            path = f"/console/inbox/{waiting['approval']['id']}"
            page = await bob.come("bob", to=path)
            assert page.status_code == 200
            page = await bob.come("bob", to=path, again=True)
            assert (page.status_code, page.url.path) == (200, path), "asked again though the provider knew him"
            fields = {"digest": waiting["approval"]["digest"], "verdict": "approve", "reason": "seen", "key": "k1"}
            done = await bob.send(f"{path}/reviews", fields)
            assert done.status_code == 303, done.text
            assert (await corp.it.outcome(await corp.it.agent(), waiting["action_id"])).json()["status"] == "done"
            reviews = [one for one in await corp.it.records() if one["kind"] == "review"]
            assert len(reviews) == 1

    asyncio.run(main())


def test_signing_out_here_ends_the_providers_session_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with corporation(tmp_path) as corp, Employee(corp.it) as alice:
            await alice.come("alice")
            page = await alice.send("/console/signout")
            found = re.fullmatch(r"0; url=(.+)", page.headers["refresh"])
            assert found
            assert (await alice.open(HEALTH)).status_code == 303
            assert await alice.walk(found.group(1)) == f"{URL}/console/signedout"
            answer = await alice.outside.get((await alice.open("/console/signin")).headers["location"])
            page_ = await alice.outside.get(str(answer.url.join(answer.headers["location"])))
            assert 'name="login"' in page_.text, "the provider asks who it is"

    asyncio.run(main())


def test_the_providers_logout_ends_the_login_of_that_session_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with corporation(tmp_path) as corp, Employee(corp.it) as desk, Employee(corp.it) as phone:
            await desk.come("alice")
            await phone.come("alice")
            end = f"{corp.issuer}/session/end?" + urlencode(
                {"client_id": "console", "post_logout_redirect_uri": f"{URL}/console/signedout"}
            )
            await desk.walk(end)
            [token] = corp.told
            told = await corp.it.client.post(
                "/console/backchannel", content=token, headers={"Content-Type": "application/x-www-form-urlencoded"}
            )
            assert told.status_code == 200, told.text
            assert (await desk.open(HEALTH)).status_code == 303, "over"
            assert (await phone.open(HEALTH)).status_code == 200, "another session of hers goes on"

    asyncio.run(main())
