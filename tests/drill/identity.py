"""Real identity providers in the place of ours: the matrix of the test suite over Keycloak, and JWT-SVIDs that SPIRE minted.

Each check is a function that raises; a row says which, how long it took, and what went wrong.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from broker.clock import SeededClock, SystemClock
from broker.connectors.exchange import Exchange, ExchangeSettings
from broker.egress import Egress
from broker.errors import BrokerError
from broker.identity import Credential, Verifier, issuer_profile
from broker.model import Party, PartyKind, Principal
from tests.e2e import test_identity_providers as matrix
from tests.parts import PARTS
from tests.sim import keycloak, spire
from tests.sim.identity_providers import ask, code_of
from tests.sim.issuer import dpop_proof
from tests.sim.world import world

MATRIX = (
    matrix.test_every_flow_gives_the_party_that_took_it,
    matrix.test_what_is_no_access_token_for_this_gate_is_refused,
    matrix.test_a_client_assertion_works_once_and_only_from_the_agents_own_key,
    matrix.test_an_authorization_code_works_once_with_its_own_verifier,
)
GATE = "https://gate.example/api"


def rows() -> list[dict[str, Any]]:
    """Every check over both, or why one cannot run here."""
    found = []
    for name, run in (("keycloak", over_keycloak), ("spire", over_spire)):
        there = keycloak.KEYCLOAK.is_dir() if name == "keycloak" else (PARTS / "spire-server").exists()
        if not there:
            found.append(_row(name, "is there", 0.0, "it is not on this machine: bash .ci/parts.sh drill"))
            continue
        with tempfile.TemporaryDirectory(prefix="wgid") as folder:
            found += run(Path(folder))
    return found


def over_keycloak(folder: Path) -> list[dict[str, Any]]:
    """The matrix, a proof of possession, and the token of the gate's own client."""

    with keycloak.running(folder) as at:
        made: Callable[[], Any] = partial(keycloak.world, *at)
        listed: list[tuple[str, Callable[[], Any]]] = [
            (one.__name__, partial(one, made, asyncio.run)) for one in MATRIX
        ]
        listed += [
            ("a token bound to a key works with its proof alone", lambda: asyncio.run(bound_to_a_key(made))),
            ("the exchange: a client's own token, and a refusal", lambda: asyncio.run(exchanged(made, folder))),
        ]
        return [_checked("keycloak 26.4.7", name, check) for name, check in listed]


async def bound_to_a_key(made: Callable[[], Any]) -> None:
    """Keycloak binds by RFC 9449; the gate asks for the proof."""
    async with made() as w:
        key = ECKey.generate_key("P-256")
        proof = dpop_proof(key, w.clock, "", "POST", w.metadata["token_endpoint"], ath=None)
        answer = await w.token(
            {"DPoP": proof}, grant_type="client_credentials", client_assertion=w.assertion(),
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        )  # fmt: skip
        assert answer.json()["token_type"] == "DPoP", answer.text
        token = answer.json()["access_token"]
        assert await code_of(w.verifier(), token) == "identity.bound_unproven"
        verifier = w.verifier(sender_constraint="dpop")
        url = f"{GATE}/v1/actions"
        shown = Credential(f"DPoP {token}", dpop_proof(key, w.clock, token, "POST", url, jti="proof-0002"), "POST", url)
        assert (await verifier.authenticate(shown)).client == "agent-1"


async def exchanged(made: Callable[[], Any], folder: Path) -> None:
    """The gate's own client by private_key_jwt; a server that knows only tokens of its own says so before anything is sent."""
    async with made() as w:
        key = folder / "gate.jwk"
        key.write_text(json.dumps(w.gate.as_dict(private=True)))
        settings = ExchangeSettings(
            token_url=w.metadata["token_endpoint"], server=w.issuer, issuer=GATE, key_file=str(key), client_id="wicketgate",
            allow_networks=("127.0.0.1/32",),
        )  # fmt: skip
        exchange = Exchange("crm", settings, Egress(), SystemClock())
        try:
            token = (await exchange.headers(None))["authorization"]
            verifier = w.verifier(audiences=("https://crm.example",))
            assert (await verifier.authenticate(Credential(token))).client == "wicketgate"
            somebody = Principal("default", Party("corp:alice", PartyKind.HUMAN), w.issuer, 2**40)
            with pytest.raises(BrokerError) as refusal:
                await exchange.headers(somebody)
            assert refusal.value.error_code == "exchange.refused", refusal.value
        finally:
            await exchange.aclose()


def over_spire(folder: Path) -> list[dict[str, Any]]:
    """JWT-SVIDs of a real server, believed and refused, in a whole gate too."""

    with spire.running() as server:
        listed: list[tuple[str, Callable[[], Any]]] = [
            ("a JWT-SVID is the workload that its path is bound to", lambda: asyncio.run(svids(server, folder))),
            ("keys rotate without a token being lost", lambda: asyncio.run(rotated(server, folder))),
            ("a whole gate lets its bearer in, and nobody else", lambda: asyncio.run(in_a_gate(server, folder))),
        ]
        return [_checked("spire 1.13.0", name, check) for name, check in listed]


def trusted(bundle: Path) -> dict[str, Any]:
    """The trust domain as an operator configures it."""
    bound = {
        "name": "sre",
        "claims": {"sub": ("spiffe://ops.example/agent/*",)},
        "kind": "agent",
        "roles": ("agent",),
        "tenant": "",
    }
    return {"name": "spire", "profile": "spiffe", "issuer": "spiffe://ops.example", "jwks_file": str(bundle), "audiences": (GATE,),
            "tenant": "default", "bound": (bound,)}  # fmt: skip


async def nothing(url: str) -> bytes:
    """The keys come from a file."""
    raise OSError(url)


async def svids(server: spire.Spire, folder: Path) -> None:
    """Who is believed, and each refusal by its code."""
    bundle = folder / "bundle.json"
    bundle.write_text(server.bundle())
    verifier = Verifier([issuer_profile(trusted(bundle))], nothing, SystemClock())
    who = await ask(verifier, server.mint("/agent/sre-1", GATE))
    assert who.subject == Party("spire:sre", PartyKind.AGENT, frozenset({"agent"}))
    for token, code in (
        (server.mint("/agent/sre-1", "https://other.example"), "identity.wrong_audience"),
        (server.mint("/web/shop", GATE), "identity.unbound"),
        (server.mint("/agent/sre-1/deeper", GATE), "identity.unbound"),
        (server.mint("/agent/sre-1", GATE, seconds=7_200), "identity.lifetime"),
    ):
        assert await code_of(verifier, token) == code
    other = Verifier([issuer_profile({**trusted(bundle), "issuer": "spiffe://else.example"})], nothing, SystemClock())
    assert await code_of(other, server.mint("/agent/sre-1", GATE)) == "identity.unknown_issuer"
    later = SeededClock(SystemClock().now_ns())
    token = server.mint("/agent/sre-1", GATE, seconds=60)
    later.advance(200)
    assert await code_of(Verifier([issuer_profile(trusted(bundle))], nothing, later), token) == "identity.expired"


async def rotated(server: spire.Spire, folder: Path) -> None:
    """A bundle file that is written again counts after the pause; old tokens hold as long as their key stands there."""
    bundle, clock = folder / "rotating.json", SeededClock(SystemClock().now_ns())
    bundle.write_text(server.bundle())
    verifier = Verifier([issuer_profile(trusted(bundle))], nothing, clock)
    before = server.mint("/agent/sre-1", GATE)
    await ask(verifier, before)
    server.rotate()
    after = server.mint("/agent/sre-1", GATE)
    assert await code_of(verifier, after) == "identity.unknown_key"
    bundle.write_text(server.bundle())
    clock.advance(31)
    await ask(verifier, after)
    await ask(verifier, before)


async def in_a_gate(server: spire.Spire, folder: Path) -> None:
    """Configuration to HTTP answer."""
    bundle = folder / "gate-bundle.json"
    bundle.write_text(server.bundle())
    extra = f"""
[[identity.issuers]]
name = "spire"
profile = "spiffe"
issuer = "spiffe://ops.example"
jwks_file = "{bundle}"
audiences = ["{GATE}"]
tenant = "default"
[[identity.issuers.bound]]
name = "sre"
roles = ["agent"]
claims = {{sub = ["spiffe://ops.example/agent/*"]}}
"""
    place = folder / "gate"
    place.mkdir()
    async with world(place, clock=SeededClock(SystemClock().now_ns()), extra=extra) as it:
        for path, status in (("/agent/sre-1", 201), ("/web/shop", 401)):
            bearer = {"Authorization": f"Bearer {server.mint(path, GATE)}", **it.key()}
            body = {"intent": [{"kind": "task", "text": "look", "source": "drill"}]}
            answer = await it.client.post("/v1/sessions", json=body, headers=bearer)
            assert answer.status_code == status, answer.text


def _checked(what: str, name: str, check: Callable[[], Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        check()
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - a drill tells of every failure
        return _row(what, name, time.monotonic() - began, f"{type(error).__name__}: {error}"[:600])
    return _row(what, name, time.monotonic() - began, "")


def _row(what: str, name: str, seconds: float, problem: str) -> dict[str, Any]:
    return {"campaign": "identity", "over": what, "check": name, "seconds": round(seconds, 2), "load": round(os.getloadavg()[0], 1),
            "violations": [problem] if problem else []}  # fmt: skip


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line a check."""
    for row in found:
        said = f": {row['violations'][0]}" if row["violations"] else ""
        yield f"{'FAILED' if said else 'ok':<8}{row['over']:<18}{row['check']}  {row['seconds']} s{said}"
