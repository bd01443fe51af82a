"""A client that knows only the gate's address finds out where to get a token (RFC 9728), and is told nothing more."""

import asyncio
from pathlib import Path

import orjson
import pytest

from broker.errors import Unauthenticated
from broker.identity import issuer_profile
from broker.web.resource import PATH, ProtectedResource
from tests.sim.world import URL, World, world

GATE = "https://gate.example"


def of(*constraints: str) -> ProtectedResource:
    """A gate that believes one issuer for each constraint."""
    tables = [
        {
            "name": f"issuer-{number}", "profile": "rfc9068", "issuer": f"https://sso-{number}.example",
            "audiences": [GATE], "tenant": "default", "sender_constraint": constraint,
        }
        for number, constraint in enumerate(constraints)
    ]  # fmt: skip
    return ProtectedResource(GATE, [issuer_profile(table) for table in tables])


def said(resource: ProtectedResource) -> dict[str, object]:
    answer = asyncio.run(resource.protected_resource(None))  # type: ignore[arg-type]

    found: dict[str, object] = orjson.loads(answer.body)
    return found


def test_from_a_refusal_to_a_token_by_what_the_gate_says_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await scene(it)

    async def scene(it: World) -> None:
        refused = await it.client.get("/v1/actions")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{URL}{PATH}"'
        forged = await it.client.get("/v1/actions", headers={"authorization": "Bearer a.b.c"})
        assert forged.headers["www-authenticate"] == f'Bearer error="invalid_token", resource_metadata="{URL}{PATH}"'
        found = (await it.client.get(PATH)).json()
        assert found["resource"] == URL
        [issuer] = found["authorization_servers"]
        discovery = await it.client.get(f"{issuer.removeprefix(URL)}/.well-known/openid-configuration")
        assert discovery.json()["issuer"] == issuer

    asyncio.run(main())


@pytest.mark.parametrize(("constraints", "proofs", "certificates"), [
    (("none",), False, False), (("none", "dpop"), False, False), (("dpop",), True, False), (("none", "mtls"), False, True),
])  # fmt: skip
def test_how_tokens_must_be_bound_is_said(constraints: tuple[str, ...], proofs: bool, certificates: bool) -> None:
    resource = of(*constraints)
    found = said(resource)
    assert found["dpop_bound_access_tokens_required"] is proofs
    assert found["tls_client_certificate_bound_access_tokens"] is certificates
    assert ("DPoP algs=" in resource.challenge(Unauthenticated("no", code="identity.missing"))) is (
        "dpop" in constraints
    )
