"""Tokens bound to a key (RFC 9449) or a certificate (RFC 8705): proven or refused at every door, each proof for one request."""

import asyncio
import base64
import itertools
import json
import re
from pathlib import Path

from joserfc.jwk import ECKey

from broker.clock import SeededClock
from broker.identity import Certificate
from broker.web.app import is_console
from broker.web.routes import ROUTES, Route
from tests.e2e.test_incidents import opened
from tests.matrix.test_access import body_of
from tests.parts import fresh_database
from tests.sim.certificate import Authority
from tests.sim.issuer import AUDIENCE, Issuer, dpop_proof
from tests.sim.sse import reading
from tests.sim.upstream import UpstreamSim, whole
from tests.sim.world import URL, World, replica, world

CLAIM = {"kinds": ["incident"], "hold_seconds": 60}


def believed(issuer: Issuer, keys: UpstreamSim, constraint: str = "dpop") -> str:
    """The issuer in the gate's configuration; its tokens must be bound."""
    return f"""
[[identity.issuers]]
name = "corp"
issuer = {json.dumps(issuer.url)}
jwks_uri = "{keys.url}/jwks"
audiences = ["{AUDIENCE}"]
roles = {{bots = "agent", sre = "oncall", audit = "auditor"}}
tenant = "default"
agents = ["agent-1"]
sender_constraint = "{constraint}"
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


PROXIED = 'client_cert_proxies = ["127.0.0.1/32"]\n'
NOBODYS = {"public", "token"}
"""No caller's token is asked for there: nobody's, and a service's own."""
DOORS = [route for route in ROUTES if route.access not in NOBODYS and not is_console(route.path)]
"""The console's are a person's login alone: tests/matrix/test_console.py."""


def place(route: Route) -> str:
    """A path of the route; whatever it names need not be there."""
    return re.sub(r"\{[a-z]+\}", "0", route.path)


def bound(issuer: Issuer, **cnf: str) -> str:
    """A token of an auditor, bound to something; they may read, and follow the log."""
    return issuer.token(issuer.claims(cnf=cnf, groups=["audit", "sre"]))


async def status(it: World, route: Route, headers: dict[str, str]) -> tuple[int, str]:
    """What a door answers to a request that is right in form, and its challenge."""
    body = body_of(route, {"digest": "0" * 64})
    sent = {} if body is None else {"json": body}
    more = {"Mcp-Session-Id": "0"} if route.handler in {"mcp_end", "mcp_stream"} else {}
    answer = await it.client.request(route.method, place(route), headers={**headers, **it.key(), **more}, **sent)
    return answer.status_code, answer.headers.get("www-authenticate", "")


async def let_in(it: World, route: Route, headers: dict[str, str]) -> bool:
    """Whether a door lets somebody in; a stream goes on, so only its beginning is waited for."""
    if not (route.stream and route.method == "GET"):
        return (await status(it, route, headers))[0] != 401
    async with reading(it.app, place(route), headers) as reader:
        return reader.status == 200


def test_the_doors_are_all_that_ask_who_is_there() -> None:
    asked = {(one.method, one.path) for one in DOORS}
    assert {one.access for one in DOORS} == {"pipeline", "owner", "role"}
    assert {("GET", "/mcp"), ("POST", "/mcp"), ("POST", "/v1/kill"), ("POST", "/access/v1/evaluation")} <= asked


def test_every_door_asks_for_the_proof_of_a_token_bound_to_a_key(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer, key = Issuer(clock), ECKey.generate_key("P-256")
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, extra=believed(issuer, keys)) as it,
        ):
            for number, route in enumerate(DOORS):
                named, token = f"{route.method} {route.path}", bound(issuer, jkt=key.thumbprint())
                code, said = await status(it, route, {"Authorization": f"Bearer {token}"})
                assert code == 401, named
                assert 'Bearer error="invalid_token"' in said, named
                assert 'DPoP error="invalid_dpop_proof", algs="' in said, named
                proof = dpop_proof(key, clock, token, route.method, URL + place(route), jti=f"doors-{number:04}")
                shown = {"Authorization": f"DPoP {token}", "DPoP": proof}
                assert await let_in(it, route, shown), named
                assert (await status(it, route, shown))[0] == 401, f"{named}: a proof serves once"
                clock.advance(60)  # Policy's limits are not what this is about.

    asyncio.run(main())


def test_every_door_asks_for_the_certificate_of_a_token_bound_to_one(tmp_path: Path) -> None:
    async def main() -> None:
        clock, shown = SeededClock(), Authority("ops").issue("auditor")
        issuer = Issuer(clock)
        header = {"Client-Cert": f":{base64.b64encode(shown.der).decode()}:"}
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(tmp_path, clock=clock, gate=PROXIED, extra=believed(issuer, keys, "mtls")) as it,
        ):
            for route in DOORS:
                token = bound(issuer, **{"x5t#S256": Certificate(shown.der).thumbprint})
                bearer, named = {"Authorization": f"Bearer {token}"}, f"{route.method} {route.path}"
                assert (await status(it, route, bearer))[0] == 401, named
                assert await let_in(it, route, {**bearer, **header}), named
                clock.advance(60)

    asyncio.run(main())


def test_a_proof_serves_one_request_on_one_of_two_replicas(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SeededClock()
        issuer, key = Issuer(clock), ECKey.generate_key("P-256")
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://")
        first, second = tmp_path / "one", tmp_path / "two"
        first.mkdir()
        async with (
            UpstreamSim.fixed(whole(200, issuer.jwks())) as keys,
            world(first, clock=clock, store_url=url, extra=believed(issuer, keys)) as it,
            replica(it, second) as other,
        ):
            token = bound(issuer, jkt=key.thumbprint())
            proof = dpop_proof(key, clock, token, "GET", URL + "/v1/actions")
            shown = {"Authorization": f"DPoP {token}", "DPoP": proof}
            seen = [(await gate.client.get("/v1/actions", headers=shown)).status_code for gate in (it, other, it)]
            assert seen == [200, 401, 401]

    asyncio.run(main())
