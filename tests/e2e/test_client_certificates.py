"""A gate with TLS of its own as a process: certificates of a real authority over real handshakes, and a proxy's header.

The gate runs as in production, on a signed bundle, and fetches its issuer's keys over HTTPS.
"""

import base64
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.record import pseudonym
from broker.clock import SystemClock
from broker.identity import Certificate
from broker.policy.bundle import build_bundle
from broker.policy.keys import SigningKey
from tests.e2e.test_incidents import alert
from tests.parts import ROOT
from tests.sim.certificate import NAMES, SERVER, Authority, Issued
from tests.sim.issuer import AUDIENCE, Issuer
from tests.sim.running_gate import RunningGate, running_gate, wicketgate

PROXY = "127.0.0.2"
HOOK = "/v1/webhooks/alertmanager"
SENDER = (*NAMES, x509.DNSName("am.example"))


@dataclass
class Place:
    """A running gate, who issues certificates and tokens for it, and a folder for files."""

    gate: RunningGate
    authority: Authority
    issuer: Issuer
    folder: Path
    silent: socket.socket
    """A connection from before every test, on which nobody ever said anything."""

    def client(self, shown: Issued | None = None, *more: Issued, address: str = "") -> httpx.Client:
        """A client that shows ``shown`` in its handshake, from ``address``."""
        trust = ssl.create_default_context(cadata=self.authority.own.pem.decode())
        if shown is not None:
            trust.load_cert_chain(shown.save(self.folder / f"{Certificate(shown.der).digest[:16]}.pem", *more))
        wire = httpx.HTTPTransport(verify=trust, local_address=address or None, trust_env=False)
        return httpx.Client(transport=wire, base_url=self.gate.url, timeout=90)

    def report(self, client: httpx.Client, **headers: str) -> httpx.Response:
        """Send an alert as Alertmanager does."""
        with client:
            return client.post(HOOK, json=body(), headers=headers)

    def records(self) -> list[dict[str, Any]]:
        """Newest records of the default tenant, as an auditor reads them."""
        auditor = self.issuer.token(self.issuer.claims(sub="carol", groups=["audit"]))
        with self.client() as client:
            answer = client.get(
                "/v1/audit/entries?limit=500", headers={"Authorization": f"Bearer {auditor}", "Idempotency-Key": "r"}
            )
        assert answer.status_code == 200, answer.text
        return [dict(one["record"]) for one in answer.json()["entries"]]


def body() -> dict[str, Any]:
    return {"version": "4", "receiver": "gate", "status": "firing", "alerts": [alert()], "truncatedAlerts": 0}


def header(issued: Issued) -> str:
    """RFC 9440's form."""
    return f":{base64.b64encode(issued.der).decode()}:"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tls")
    authority, issuer = Authority("ops"), Issuer(SystemClock())
    (folder / "ca.pem").write_bytes(authority.own.pem)
    server = authority.issue("gate", use=SERVER).save(folder / "server.pem")
    trust = ssl.create_default_context(cafile=folder / "ca.pem")
    with (
        _keys(issuer, server) as keys,
        running_gate(folder, _toml(folder, issuer, keys), tls=trust) as gate,
        socket.create_connection(("127.0.0.1", httpx.URL(gate.url).port or 443)) as silent,
    ):
        yield Place(gate, authority, issuer, folder, silent)


class _keys:  # noqa: N801 - used as a function
    """The issuer's key set over HTTPS; the URL."""

    def __init__(self, issuer: Issuer, certificate: Path) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(issuer.jwks())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"https://127.0.0.1:{self._server.server_address[1]}/jwks"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _toml(folder: Path, issuer: Issuer, keys: str) -> str:
    """A gate that believes ``issuer``'s tokens, bound or not, and one sender by its certificate."""
    signer = SigningKey("team", Ed25519PrivateKey.generate())
    bundle = build_bundle(ROOT / "policies", signer, "1")
    (folder / "broker.tar.gz").write_bytes(bundle.archive)
    (folder / "broker.tar.gz.sig").write_text(bundle.signature)
    (folder / "team.pub").write_text(signer.public_pem())
    issuers = "".join(
        f"""
[[identity.issuers]]
name = "{name}"
issuer = "{url}"
jwks_uri = "{keys}"
audiences = ["{AUDIENCE}"]
roles = {{sre = "oncall", bots = "agent", audit = "auditor"}}
tenant = "default"
agents = ["agent-1"]
sender_constraint = "{bound}"
allow_networks = ["127.0.0.1/32"]
ca_file = "{folder / "ca.pem"}"
"""
        for name, url, bound in (("corp", issuer.url, "none"), ("bound", issuer.url + "/bound", "mtls"))
    )
    return f"""
[gate]
tls_certificate_file = "{folder / "server.pem"}"
tls_key_file = "{folder / "server.pem"}"
client_ca_file = "{folder / "ca.pem"}"
client_cert_proxies = ["{PROXY}/32"]
[policy]
bundle = {json.dumps(str(folder / "broker.tar.gz"))}
[policy.signers]
team = {json.dumps(str(folder / "team.pub"))}
[[identity.certificates]]
name = "alertmanager"
tenant = "default"
san = "dns:am.example"
{issuers}
"""


def test_an_alert_comes_in_by_a_certificate_alone_and_the_record_names_its_sender(place: Place) -> None:
    shown = place.authority.issue("am", names=SENDER)
    answer = place.report(place.client(shown))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["incidents"]) == 1
    assert place.report(place.client(shown), **{"x-api-key": "of the model's routes alone"}).status_code == 200
    key = (place.gate.data / "keys" / "pseudonym.key").read_bytes()
    ours = pseudonym(key, "default", "per", "mtls:alertmanager")
    begun = [one["body"] for one in place.records() if one["kind"] == "intent"]
    received = [one for one in begun if one["action"]["name"] == "gate.incidents.receive"]
    assert received
    assert {one["actor"]["ref"] for one in received} == {ours}


def test_a_certificate_of_an_authority_below_comes_with_its_chain(place: Place) -> None:
    below = Authority("below", below=place.authority)
    # The handshake follows the chain that came along; alone, a certificate counts by what the gate's own file holds.
    alone = place.report(place.client(below.issue("am", names=SENDER), below.own))
    assert (alone.status_code, alone.json()["code"]) == (401, "identity.certificate")
    issued = below.issue("am", names=SENDER)
    told = {"Client-Cert": header(issued), "Client-Cert-Chain": f"{header(below.own)}, {header(place.authority.own)}"}
    assert place.report(place.client(address=PROXY), **told).status_code == 200


def test_it_reads_nothing_and_changes_nothing_else(place: Place) -> None:
    who = place.authority.issue("security", names=SENDER)
    with place.client(who) as client:
        for method, path, sent in (
            ("GET", "/v1/approvals", None),
            ("GET", "/v1/audit/entries", None),
            ("POST", "/v1/work/claim", {"kinds": ["incident"], "hold_seconds": 60}),
            ("POST", "/v1/kill", {"scope": "agent", "target": "corp:agent-1", "reason": "because"}),
        ):
            answer = client.request(method, path, json=sent, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 403, (path, answer.text)
        assert client.get("/console").status_code in {302, 303, 401, 403, 404}


def test_no_handshake_with_a_certificate_of_another_authority_or_time(place: Place) -> None:
    for shown in (
        Authority("ops").issue("am", names=SENDER),
        place.authority.issue("am", names=SENDER, days=(-2, -1)),
        place.authority.issue("am", names=SENDER, use=SERVER),
    ):
        with pytest.raises(httpx.TransportError):
            place.report(place.client(shown))
        told = place.report(place.client(address=PROXY), **{"Client-Cert": header(shown)})
        assert (told.status_code, told.json()["code"]) == (401, "identity.certificate")
        assert told.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")


def test_who_is_mapped_to_nobody_or_shows_nothing_is_refused(place: Place) -> None:
    for shown, code in (
        (place.authority.issue("am.example"), "identity.certificate_unmapped"),
        (None, "identity.missing"),
    ):
        answer = place.report(place.client(shown))
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")
    with place.client() as client:
        counted = client.get("/metrics").text
    assert 'code="identity.certificate_unmapped"' in counted


def test_the_header_counts_from_a_configured_proxy_alone(place: Place) -> None:
    said = {"Client-Cert": header(place.authority.issue("am", names=SENDER))}
    believed = place.report(place.client(address=PROXY), **said)
    assert believed.status_code == 200, believed.text
    refused = place.report(place.client(address="127.0.0.3"), **said)
    assert (refused.status_code, refused.json()["code"]) == (400, "http.client_cert")


def test_the_header_twice_or_beside_a_handshake_or_in_another_form_is_refused(place: Place) -> None:
    shown = place.authority.issue("am", names=SENDER)
    told = header(shown)
    both = place.report(place.client(shown, address=PROXY), **{"Client-Cert": told})
    assert (both.status_code, both.json()["code"]) == (400, "http.client_cert")
    with place.client(address=PROXY) as client:
        twice = client.post(HOOK, json=body(), headers=[("Client-Cert", told), ("Client-Cert", told)])
        assert (twice.status_code, twice.json()["code"]) == (400, "http.duplicate_header")
        for wrong in (told.strip(":"), told + ";a=1", f'"{told}"', "::", f"{told}, {told}", ":é:", ""):
            answer = client.post(HOOK, json=body(), headers=[("Client-Cert", wrong.encode())])
            assert (answer.status_code, answer.json()["code"]) == (400, "http.client_cert"), wrong
        chain = client.post(HOOK, json=body(), headers={"Client-Cert-Chain": told})
        assert (chain.status_code, chain.json()["code"]) == (400, "http.client_cert")


def test_a_bound_token_counts_with_its_certificate_alone_by_either_way(place: Place) -> None:
    mine, others = place.authority.issue("agent"), place.authority.issue("am", names=SENDER)
    claims = place.issuer.agent_claims(
        iss=place.issuer.url + "/bound", cnf={"x5t#S256": Certificate(mine.der).thumbprint}
    )
    bearer = {"Authorization": f"Bearer {place.issuer.token(claims)}"}

    def ask(client: httpx.Client, **headers: str) -> httpx.Response:
        with client:
            return client.get("/v1/actions", headers={**bearer, **headers})

    assert ask(place.client(mine)).status_code == 200
    assert ask(place.client(address=PROXY), **{"Client-Cert": header(mine)}).status_code == 200
    for client, more in (
        (place.client(), {}),
        (place.client(others), {}),
        (place.client(address=PROXY), {"Client-Cert": header(others)}),
    ):
        answer = ask(client, **more)
        assert (answer.status_code, answer.json()["code"]) == (401, "identity.bound_unproven")
        assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", ')


def test_beside_a_token_the_certificate_gives_nothing(place: Place) -> None:
    sender = place.authority.issue("am", names=SENDER)
    token = place.issuer.token(place.issuer.claims(sub="carol", groups=["audit"]))
    answer = place.report(place.client(sender), Authorization=f"Bearer {token}")
    assert answer.status_code == 403, answer.text


def test_who_does_not_shake_hands_is_hung_up_on(place: Place) -> None:
    place.silent.settimeout(30)
    assert place.silent.recv(1) == b""


def test_files_of_tls_that_cannot_be_used_are_told_before_the_gate_starts(tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    issued = Authority("ops").issue("gate", use=SERVER)
    (tmp_path / "cert.pem").write_bytes(issued.pem)
    (tmp_path / "key.pem").write_bytes(b"no key")
    config.write_text(f"""
[gate]
tls_certificate_file = "{tmp_path / "cert.pem"}"
tls_key_file = "{tmp_path / "key.pem"}"
""")
    for command, code in ((["config", "check"], 1), (["serve", "--dev"], 1)):
        done = subprocess.run(
            [wicketgate(), *command, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        assert "tls_certificate_file" in done.stderr
