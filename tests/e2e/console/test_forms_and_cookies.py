"""Bad days of a cookie: other sites, stolen values, lost roles, credentials on the wrong side."""

import asyncio
from dataclasses import replace
from pathlib import Path

from broker.identity.dev import PERSONAS
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import PEOPLE, World, world


def test_only_the_gates_own_page_sends_a_form(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, bob = await signed_in(it, "oncall"), await signed_in(it, "security")
            good = await ann.token()
            for token, headers in (
                (good, {"Sec-Fetch-Site": "cross-site"}),
                (good, {"Sec-Fetch-Site": "same-site"}),
                (good, {"Sec-Fetch-Site": "none"}),
                ("", {}),
                (good[:-1] + ("0" if good[-1] != "0" else "1"), {}),
                (await bob.token(), {}),
            ):
                refused = await ann.send("/console/signout", token=token, **headers)
                assert refused.status_code == 403
                assert "console.csrf" in refused.text
            bare = await ann.client.post("/console/signout", data={"csrf": good})
            assert bare.status_code == 403
            twice = f"csrf={good}&key=a&key=b"
            form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
            assert (await ann.client.post("/console/signout", content=twice, headers=form)).status_code == 400
            as_json = await ann.client.post(
                "/console/signout", json={"csrf": good}, headers={"Sec-Fetch-Site": "same-origin"}
            )
            assert as_json.status_code == 400
            assert (await ann.open("/console/health")).status_code == 200
            for visitor in (ann, bob):
                await visitor.client.aclose()

    asyncio.run(main())


def test_a_cookie_stolen_into_another_session_sends_no_form_with_that_sessions_token(tmp_path: Path) -> None:
    """Whoever plants a login of theirs beside a page of the victim's has no token for it."""

    async def main() -> None:
        async with world(tmp_path) as it:
            victim, thief = await signed_in(it, "security"), await signed_in(it, "oncall")
            page_token = await victim.token()
            victim.login = thief.login
            assert (await victim.send("/console/signout", token=page_token)).status_code == 403
            assert (await thief.open("/console/health")).status_code == 200
            for visitor in (victim, thief):
                await visitor.client.aclose()

    asyncio.run(main())


def test_each_credential_counts_on_its_own_side_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            assert (await ann.client.get("/v1/approvals")).status_code == 401
            killed = await ann.client.post("/v1/kill", json={"scope": "agent", "target": "dev:x", "reason": "x"})
            assert killed.status_code == 401
            async with Visitor(it) as bob:
                assert (await bob.open("/console/health", **await it.person("oncall"))).status_code == 303
                agent = await bob.open("/console/health", **await it.agent())
                assert agent.status_code == 303
            await ann.client.aclose()

    asyncio.run(main())


def test_a_role_lost_while_a_page_is_open_counts_at_the_next_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            assert (await ann.open("/console/health")).status_code == 200
            _change(it, "oncall", ())
            it.clock.advance(10)
            await it.client.get("/v1/actions", headers=await it.person("oncall"))
            page = await ann.open("/console/health")
            assert page.status_code == 403
            assert "allowlist.action_not_granted" in page.text
            assert 'aria-disabled="true"' in page.text
            assert "You hold no role at this gate" in page.text
            _change(it, "oncall", ("oncall",))
            it.clock.advance(10)
            await ann.sign_in("oncall")
            assert (await ann.open("/console/health")).status_code == 200
            await ann.client.aclose()

    asyncio.run(main())


def _change(it: World, name: str, groups: tuple[str, ...]) -> None:
    """The provider gives this person other groups from now on."""
    assert it.gate.provider is not None
    it.gate.provider.server.people = {**PEOPLE, name: replace(PERSONAS[name], groups=groups)}


def test_a_page_is_an_action_of_the_person_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            before = len(await it.records())
            await ann.open("/console/health")
            new = (await it.records())[before:]
            assert [one["kind"] for one in new] == ["intent", "outcome"]
            assert new[0]["body"]["action"]["name"] == "gate.health.read"
            await ann.client.aclose()

    asyncio.run(main())


def test_every_answer_of_the_console_says_the_same_to_the_browser(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            nonces = set()
            for path in ("/console/health", "/console/absent", "/console/signedout"):
                said = (await ann.open(path)).headers
                policy = dict(part.strip().partition(" ")[::2] for part in said["content-security-policy"].split(";"))
                assert policy["default-src"] == "'none'"
                assert policy["frame-ancestors"] == "'none'"
                assert policy["base-uri"] == "'none'"
                assert (
                    policy["form-action"]
                    == policy["style-src"]
                    == policy["img-src"]
                    == policy["connect-src"]
                    == "'self'"
                )
                assert policy["trusted-types"] == "htmx"
                assert policy["require-trusted-types-for"] == "'script'"
                assert policy["script-src"].startswith("'nonce-")
                nonces.add(policy["script-src"])
                assert said["cache-control"] == "no-store"
                assert said["x-frame-options"] == "DENY"
                assert said["cross-origin-opener-policy"] == said["cross-origin-resource-policy"] == "same-origin"
                assert said["referrer-policy"] == "no-referrer"
                assert "publickey-credentials-get=(self)" in said["permissions-policy"]
            assert len(nonces) == 3
            await ann.client.aclose()

    asyncio.run(main())


def test_a_refused_fragment_sends_the_whole_page_to_the_sign_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            current = "http://localhost:8480/console/health?page=2"
            answer = await ann.open("/console/health", **{"HX-Request": "true", "HX-Current-URL": current})
            assert answer.status_code == 401
            assert answer.headers["hx-redirect"] == "/console/signin?to=%2Fconsole%2Fhealth%3Fpage%3D2"

    asyncio.run(main())


def test_without_a_configured_provider_the_page_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as ann:
            it.gate.__dict__["sign_in"] = None
            from broker.web import app

            it.app = app.build(it.gate)
            async with Visitor(it) as bob:
                page = await bob.open("/console/signin")
                assert page.status_code == 404
                assert "[console] issuer" in bob.text
            assert (await ann.open("/console/health")).status_code == 303

    asyncio.run(main())


def test_the_health_page_shows_no_secret_and_settings_to_the_operators_tenant_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, stranger = await signed_in(it, "oncall"), await signed_in(it, "stranger")
            await it.agent()
            mine = await ann.open("/console/health")
            active = it.gate.policy.active
            assert active is not None
            for told in (f"revision {active.revision}, in force since", "Keys of issuer dev", "not believed any more",
                         " records, head ", "Requests that wait for people", "sqlite, ", "local, llm"):  # fmt: skip
                assert told in mine.text, told
            assert "credential_file" in mine.text
            assert "provider-key" not in mine.text
            other = await stranger.open("/console/health")
            assert other.status_code == 200
            assert "credential_file" not in other.text
            for visitor in (ann, stranger):
                await visitor.client.aclose()

    asyncio.run(main())
