"""A pod's own token at a gate in its cluster: keys from the cluster's API, by its authority, for the gate's own token alone."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

from broker.clock import SeededClock
from tests.sim.certificate import SERVER, Authority
from tests.sim.issuer import AUDIENCE
from tests.sim.real_issuers import Kubernetes
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.world import world


def believed(folder: Path, issuer: Kubernetes, keys: UpstreamSim) -> str:
    return f"""
[[identity.issuers]]
name = "cluster"
profile = "kubernetes"
issuer = {json.dumps(issuer.url)}
jwks_uri = "https://localhost:{keys.port}/openid/v1/jwks"
ca_file = "{folder / "ca.pem"}"
token_file = "{folder / "token"}"
allow_networks = ["127.0.0.1/32", "::1/128"]
audiences = ["{AUDIENCE}"]
tenant = "default"
[[identity.issuers.bound]]
name = "triage"
roles = ["agent"]
claims = {{"kubernetes.io.namespace" = ["agents"], "kubernetes.io.serviceaccount.name" = ["triage"]}}
"""


def test_the_clusters_keys_are_fetched_with_the_pods_own_token_as_it_is_now(tmp_path: Path) -> None:
    async def main() -> None:
        clock, authority = SeededClock(), Authority("cluster")
        issuer = Kubernetes(clock)
        token = tmp_path / "token"
        token.write_text("first-token\n")
        (tmp_path / "ca.pem").write_bytes(authority.own.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.issue("api", use=SERVER).save(tmp_path / "server.pem"))

        async def answer(seen: Seen, writer: Any) -> None:
            given = seen.headers.get("authorization")
            good = seen.target == "/openid/v1/jwks" and given == f"Bearer {token.read_text().strip()}"
            writer.write(whole(200, issuer.jwks()) if good else whole(401, {"kind": "Status", "code": 401}))

        async with (
            UpstreamSim(answer, tls=context) as keys,
            world(tmp_path, clock=clock, extra=believed(tmp_path, issuer, keys)) as it,
        ):

            async def asked() -> int:
                bearer = {"Authorization": f"Bearer {issuer.mint()}"}
                return (await it.client.get("/v1/actions", headers=bearer)).status_code

            assert await asked() == 200
            token.write_text("second-token\n")  # the cluster renews it in place
            issuer.rotate()
            clock.advance(60)
            assert await asked() == 200
            assert {seen.headers["authorization"] for seen in keys.seen} == {
                "Bearer first-token",
                "Bearer second-token",
            }
            assert b"first-token" not in it.everything_stored()

    asyncio.run(main())
