"""What a refusal tells a program to do next: the challenge of RFC 6750, 9470 and 9728, at the doors where it is needed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock, seconds
from tests.sim.issuer import AUDIENCE, Issuer
from tests.sim.upstream import UpstreamSim, whole
from tests.sim.world import URL, World, world

METADATA = f"{URL}/.well-known/oauth-protected-resource"


def believed(issuer: Issuer, keys: UpstreamSim, more: str = "") -> str:
    return f"""
[[identity.issuers]]
name = "corp"
issuer = {json.dumps(issuer.url)}
jwks_uri = "{keys.url}/jwks"
audiences = ["{AUDIENCE}"]
roles = {{sre = "oncall"}}
tenant = "default"
agents = ["agent-1"]
allow_networks = ["127.0.0.1/32"]
{more}
"""


async def proposal(it: World) -> dict[str, Any]:
    """A write that waits for people."""
    agent = await it.agent()
    asked = await it.act(agent, "local.process.restart", await it.session(agent))
    assert asked.status_code == 202, asked.text
    return dict(asked.json()["approval"])


def told(answer: Any) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.headers.get("www-authenticate", "")


@pytest.mark.parametrize(("changes", "code"), [
    ({"auth_time": -3_700}, "identity.presence_not_fresh"),
    ({"auth_time": None}, "identity.presence_unknown"),
])  # fmt: skip
def test_a_review_with_an_old_sign_in_is_told_how_fresh_it_must_be(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer = Issuer(clock)
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, extra=believed(issuer, keys)) as it,
        ):
            waits = await proposal(it)
            at = changes["auth_time"] and seconds(clock) + changes["auth_time"]
            old = {"Authorization": f"Bearer {issuer.token(issuer.claims(auth_time=at))}"}
            assert told(await it.review(old, waits)) == (
                401, code,
                f'Bearer error="insufficient_user_authentication", max_age=3600, resource_metadata="{METADATA}"',
            )  # fmt: skip
            fresh = {"Authorization": f"Bearer {issuer.token()}"}
            assert (await it.review(fresh, waits)).status_code == 200
            # Where something else is missing too, another sign-in would not help.
            nobody = {"Authorization": f"Bearer {issuer.token(issuer.claims(auth_time=at, groups=[]))}"}
            status, _, challenge = told(await it.review(nobody, waits))
            assert (status, challenge) == (403, "")

    asyncio.run(main())


def test_approving_asks_for_the_configured_method_and_refusing_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer = Issuer(clock)
        async with UpstreamSim.fixed(whole(200, issuer.jwks())) as keys:
            extra = (
                believed(issuer, keys, 'acr_values = ["phrh", "phr"]') + '[console]\nstep_up_acr = ["phrh", "phr"]\n'
            )
            async with world(tmp_path, clock=clock, extra=extra) as it:
                await scene(it, issuer)

    async def scene(it: World, issuer: Issuer) -> None:
        waits = await proposal(it)
        weak = {"Authorization": f"Bearer {issuer.token(issuer.claims(acr='pwd'))}"}
        assert told(await it.review(weak, waits)) == (
            401, "identity.acr_not_met",
            f'Bearer error="insufficient_user_authentication", acr_values="phrh phr", resource_metadata="{METADATA}"',
        )  # fmt: skip
        by_context = {"Authorization": f"Bearer {issuer.token(issuer.claims(acr='1', acrs=['c9', 'phr']))}"}
        assert (await it.review(by_context, waits)).status_code == 200
        other = await proposal(it)
        assert (await it.review(weak, other, "deny")).status_code == 200, "whoever may answer may stop it"

    asyncio.run(main())


def test_a_missing_scope_is_a_refusal_of_rights_that_names_it(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer = Issuer(clock)
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, extra=believed(issuer, keys, 'scopes = ["gate:act"]')) as it,
        ):
            lacking = {"Authorization": f"Bearer {issuer.token()}"}
            assert told(await it.client.get("/v1/actions", headers=lacking)) == (
                403, "identity.insufficient_scope",
                f'Bearer error="insufficient_scope", scope="gate:act", resource_metadata="{METADATA}"',
            )  # fmt: skip
            held = {"Authorization": f"Bearer {issuer.token(issuer.claims(scope='gate:act'))}"}
            assert (await it.client.get("/v1/actions", headers=held)).status_code == 200
            bare = await it.client.get("/v1/actions")
            assert bare.headers["www-authenticate"] == f'Bearer scope="gate:act", resource_metadata="{METADATA}"'

    asyncio.run(main())


def test_each_path_that_is_a_resource_of_its_own_has_its_metadata(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for path in ("/mcp",):
                refused = await it.client.post(path, json={})
                assert refused.status_code == 401
                assert f'resource_metadata="{METADATA}{path}"' in refused.headers["www-authenticate"]
                found = (await it.client.get(f"{METADATA}{path}".removeprefix(URL))).json()
                assert found["resource"] == URL + path
                whole_gate = (await it.client.get(METADATA.removeprefix(URL))).json()
                assert found == {**whole_gate, "resource": URL + path}
            absent = await it.client.get(f"{METADATA}/nothing".removeprefix(URL))
            assert (absent.status_code, absent.json()["code"]) == (404, "http.no_route")
            model = await it.client.get("/llm/anthropic/v1/models")
            assert model.headers["www-authenticate"] == f'Bearer resource_metadata="{METADATA}"'

    asyncio.run(main())
