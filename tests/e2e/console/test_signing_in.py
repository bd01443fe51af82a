"""Signing in to the console: the provider's real pages and redirects, in a whole gate."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import CODE, World, replica, world


def test_a_person_signs_in_and_comes_back_to_the_page_they_wanted(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            first = await ann.open("/console/health?x=1")
            assert (first.status_code, first.headers["location"]) == (
                303,
                "/console/signin?to=%2Fconsole%2Fhealth%3Fx%3D1",
            )
            page = await ann.sign_in("oncall", to="/console/health?x=1")
            assert page.status_code == 200
            assert page.url.path == "/console/health"
            assert page.url.query == b"x=1"
            assert "dev:oncall" in page.text
            assert "Development identity provider" in page.text

    asyncio.run(main())


def test_the_request_to_the_provider_has_pkce_state_nonce_and_the_answer_names_the_issuer(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            asked = parse_qs(urlsplit((await ann.open("/console/signin")).headers["location"]).query)
            assert asked["code_challenge_method"] == ["S256"]
            assert asked["response_type"] == ["code"]
            assert len(asked["state"][0]) >= 43 <= len(asked["nonce"][0])
            assert asked["redirect_uri"] == ["http://localhost:8480/console/callback"]

    asyncio.run(main())


BAD_ANSWERS: tuple[tuple[dict[str, str | None], str], ...] = (
    ({"state": "another"}, "its state is another one"),
    ({"iss": "http://localhost:8480/other"}, "it is from another provider"),
    ({"iss": None}, "it is from another provider"),
    ({"code": "never-given"}, "the provider gave no tokens"),
    ({"code": None}, "it holds no code"),
    ({"error": "access_denied"}, "the provider did not sign you in"),
)


def test_an_answer_of_the_provider_that_does_not_fit_signs_nobody_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for change, said in BAD_ANSWERS:
                async with Visitor(it) as ann:
                    authorize = (await ann.open("/console/signin")).headers["location"]
                    form = {"persona": "oncall", "code": CODE, "verdict": "allow"}
                    back = await ann.client.post(authorize, data=form)
                    query = {name: one for name, (one,) in parse_qs(urlsplit(back.headers["location"]).query).items()}
                    changed = {name: one for name, one in {**query, **change}.items() if one is not None}
                    answer = await ann.client.get("/console/callback", params=changed)
                    assert answer.status_code == 401
                    assert said in answer.text
                    assert not ann.login

    asyncio.run(main())


def test_a_code_counts_in_the_browser_that_began_the_sign_in_only(tmp_path: Path) -> None:
    """Login forgery: a victim led to the attacker's callback address is not signed in as the attacker."""

    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as attacker, Visitor(it) as victim:
            authorize = (await attacker.open("/console/signin")).headers["location"]
            form = {"persona": "oncall", "code": CODE, "verdict": "allow"}
            back = (await attacker.client.post(authorize, data=form)).headers["location"]
            await victim.open("/console/signin")
            answer = await victim.open(back)
            assert answer.status_code == 401
            assert not victim.login
            async with Visitor(it) as nobody:
                assert (await nobody.open(back)).status_code == 401

    asyncio.run(main())


def test_an_attempt_that_took_too_long_is_begun_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            authorize = (await ann.open("/console/signin")).headers["location"]
            it.clock.advance(601)
            answer = await ann.at_provider(authorize, "oncall")
            assert answer.status_code == 401
            assert "it took too long" in answer.text
            assert not ann.login

    asyncio.run(main())


def test_a_sign_in_leads_to_the_console_and_nowhere_else(tmp_path: Path) -> None:
    elsewhere = (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/v1/agents",
        "/console/../v1",
        "/console/%2e%2e/v1",
        "/console//evil.example",
        "javascript:x",
        "/consolex",
    )

    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            for to in elsewhere:
                answer = await ann.client.get("/console/signin", params={"to": to})
                form = {"persona": "oncall", "code": CODE, "verdict": "allow"}
                back = await ann.client.post(answer.headers["location"], data=form)
                done = await ann.open(back.headers["location"])
                assert done.headers["location"] == "/console", to

    asyncio.run(main())


def test_signing_in_makes_a_new_login_and_ends_the_one_the_browser_had(tmp_path: Path) -> None:
    """Session fixation: a value that an attacker knew before is worth nothing after."""

    async def main() -> None:
        async with world(tmp_path) as it:
            planted = await signed_in(it, "auditor")
            known = planted.login
            async with Visitor(it) as victim:
                victim.login = known
                await victim.sign_in("oncall")
                assert victim.login not in ("", known)
                assert "dev:oncall" in victim.page.text
            assert (await planted.open("/console/health")).status_code == 303
            await planted.client.aclose()

    asyncio.run(main())


def test_a_login_ends_without_use_and_at_its_limit_and_a_page_that_refreshes_itself_is_no_use(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            for _ in range(16):  # used every half hour but one second: until the absolute limit
                it.clock.advance(1_799)
                assert (await ann.open("/console/health")).status_code == 200
            it.clock.advance(28_800 - 16 * 1_799)
            assert (await ann.open("/console/health")).status_code == 303
            await ann.sign_in("oncall")
            it.clock.advance(1_000)
            assert (await ann.open("/console/health", **{"Sec-Fetch-Dest": "empty"})).status_code == 200
            it.clock.advance(800)
            assert (await ann.open("/console/health")).status_code == 303
            await ann.client.aclose()

    asyncio.run(main())


def test_another_sites_page_makes_no_login_without_a_click_here(tmp_path: Path) -> None:
    """The provider may still know the person, and would answer without asking anybody."""

    async def main() -> None:
        async with world(tmp_path) as it:
            for site in ("cross-site", "same-site"):
                async with Visitor(it) as ann:
                    led = {"Sec-Fetch-Site": site}
                    first = await ann.open("/console/health?x=1", **led)
                    page = await ann.open(first.headers["location"], **led)
                    assert page.status_code == 200
                    assert "set-cookie" not in page.headers
                    assert not ann.client.cookies.jar
                    (link,) = re.findall(r'href="(/console/signin[^"]*)"', ann.text)
                    begun = await ann.open(link)
                    assert begun.status_code == 303
                    done = await ann.at_provider(begun.headers["location"], "oncall")
                    assert (done.url.path, done.url.query) == ("/console/health", b"x=1")
                    again = await ann.open("/console/signin?again=1&to=/console/health", **led)
                    assert 'href="/console/signin?to=%2Fconsole%2Fhealth&again=1"' in ann.text, again.text

    asyncio.run(main())


def test_the_database_and_the_log_hold_neither_cookie_nor_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            assert ann.login.encode() not in it.everything_stored()
            assert b"eyJ" not in it.everything_stored()
            await ann.client.aclose()

    asyncio.run(main())


def test_signing_out_ends_the_login_and_leads_to_the_providers_own_logout(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            kept = ann.login
            out = await ann.send("/console/signout")
            assert out.status_code == 200
            assert not ann.login
            at_provider = out.headers["refresh"].partition("url=")[2]
            back = await ann.client.get(at_provider)
            assert back.headers["location"] == "http://localhost:8480/console/signedout"
            assert (await ann.open("/console/signedout")).status_code == 200
            ann.login = kept
            assert (await ann.open("/console/health")).status_code == 303
            await ann.client.aclose()

    asyncio.run(main())


def test_each_sign_in_each_refused_one_and_each_end_of_one_is_a_line_that_names_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def lines() -> list[dict[str, Any]]:
        told = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        return [one for one in told if one["event"].startswith(("login.", "identity."))]

    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as mallory:
            lines()
            ann = await signed_in(it, "oncall")
            (opened,) = lines()
            assert (opened["event"], opened["issuer"], opened["method"]) == ("login.opened", "dev", "dev-code")
            await ann.send("/console/signout")
            (closed,) = lines()
            assert (closed["event"], closed["by"], closed["session"]) == ("login.closed", "person", opened["session"])
            assert (await mallory.open("/console/callback?code=x&state=y")).status_code == 401
            (refused,) = lines()
            assert (refused["event"], refused["code"]) == ("identity.refused", "login.mismatch")
            await ann.sign_in("oncall")
            lines()
            assert await _backchannel(it, _logout_token(it, subject="oncall")) == 200
            (ended,) = lines()
            assert (ended["event"], ended["by"], ended["closed"]) == ("login.closed", "provider", 1)
            for one in (opened, closed, refused, ended):
                assert "oncall" not in json.dumps(one)
                assert ann.login not in json.dumps(one)
            await ann.client.aclose()

    asyncio.run(main())


# -- back-channel logout ---------------------------------------------------------------------------------------------------


def _logout_token(it: World, *, subject: str = "", sid: str = "", client: str = "wicketgate-console") -> str:
    assert it.gate.provider is not None
    return it.gate.provider.server.logout_token(client, subject=subject, sid=sid)


async def _backchannel(it: World, token: str) -> int:
    form = {"logout_token": token}
    return (await it.client.post("/console/backchannel", data=form)).status_code


def test_the_providers_logout_ends_every_login_of_the_person(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            one, two, other = [await signed_in(it, who) for who in ("oncall", "oncall", "auditor")]
            assert await _backchannel(it, _logout_token(it, subject="oncall")) == 200
            assert (await one.open("/console/health")).status_code == 303
            assert (await two.open("/console/health")).status_code == 303
            assert (await other.open("/console/health")).status_code == 200
            for visitor in (one, two, other):
                await visitor.client.aclose()

    asyncio.run(main())


def test_a_logout_of_one_session_ends_that_login_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            one, two = [await signed_in(it, "oncall") for _ in range(2)]
            sid = (await it.gate.logins.find(one.login)).sid
            assert sid
            assert await _backchannel(it, _logout_token(it, sid=sid)) == 200
            assert (await one.open("/console/health")).status_code == 303
            assert (await two.open("/console/health")).status_code == 200
            for visitor in (one, two):
                await visitor.client.aclose()

    asyncio.run(main())


def test_a_logout_token_that_is_none_ends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            access = (await it.person("oncall"))["Authorization"].removeprefix("Bearer ")
            good = _logout_token(it, subject="oncall")
            for token in (
                access,
                good[:-6] + "AAAAAA",
                _logout_token(it, subject="oncall", client="another"),
                _logout_token(it),
            ):
                assert await _backchannel(it, token) == 400
            it.clock.advance(200)
            assert await _backchannel(it, good) == 400
            assert (await ann.open("/console/health")).status_code == 200
            await ann.client.aclose()

    asyncio.run(main())


def test_a_logout_on_one_replica_is_seen_by_the_other_at_once(tmp_path: Path) -> None:
    from tests.stores import fresh_url

    async def main() -> None:
        url = fresh_url("postgresql", tmp_path)
        async with world(tmp_path, store_url=url) as it, replica(it, tmp_path / "second") as second:
            ann = await signed_in(it, "oncall")
            async with Visitor(second) as there:
                there.login = ann.login
                assert (await there.open("/console/health")).status_code == 200
                assert (await ann.send("/console/signout")).status_code == 200
                assert (await there.open("/console/health")).status_code == 303
            await ann.client.aclose()

    asyncio.run(main())
