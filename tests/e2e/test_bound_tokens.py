"""Agents whose tokens are bound to a key (RFC 9449) work on incidents like any other: each proof serves one request."""

import asyncio
import itertools
import json
from pathlib import Path

from joserfc.jwk import ECKey

from broker.clock import SeededClock
from tests.e2e.test_incidents import opened
from tests.sim.issuer import AUDIENCE, Issuer, dpop_proof
from tests.sim.upstream import UpstreamSim, whole
from tests.sim.world import URL, world

CLAIM = {"kinds": ["incident"], "hold_seconds": 60}


def believed(issuer: Issuer, keys: UpstreamSim) -> str:
    """The issuer in the gate's configuration; its tokens must be bound."""
    return f"""
[[identity.issuers]]
name = "corp"
issuer = {json.dumps(issuer.url)}
jwks_uri = "{keys.url}/jwks"
audiences = ["{AUDIENCE}"]
roles = {{bots = "agent"}}
tenant = "default"
agents = ["agent-1"]
sender_constraint = "dpop"
allow_networks = ["127.0.0.1/32"]
"""


def test_a_bound_token_claims_work_with_one_proof_a_request(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer, key = Issuer(clock), ECKey.generate_key("P-256")
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, extra=believed(issuer, keys)) as it,
        ):
            token = issuer.token(issuer.agent_claims(cnf={"jkt": key.thumbprint()}))
            numbers = itertools.count(1)

            def shown(path: str) -> dict[str, str]:
                proof = dpop_proof(key, clock, token, "POST", URL + path, jti=f"proof-{next(numbers):04}")
                return {"Authorization": f"DPoP {token}", "DPoP": proof, **it.key()}

            path = "/v1/work/claim"
            proven = shown(path)
            nothing = await it.client.post(path, json=CLAIM, headers=proven)
            assert nothing.status_code == 204, nothing.text
            again = await it.client.post(path, json=CLAIM, headers={**proven, **it.key()})
            assert again.status_code == 401, "an idle look uses its proof up like any other"

            async def stolen() -> int:
                bare = {name: text for name, text in shown(path).items() if name != "DPoP"}
                return (await it.client.post(path, json=CLAIM, headers=bare)).status_code

            assert await stolen() == 401, "whether anything is due is nothing for a thief"
            await opened(it)
            assert await stolen() == 401
            claimed = await it.client.post(path, json=CLAIM, headers=shown(path))
            assert claimed.status_code == 200, claimed.text

    asyncio.run(main())
