"""`Client-Cert` (RFC 9440): from whom it is read, and in which form."""

import base64
import ssl
from typing import Any

import pytest

from broker.errors import BadRequest
from broker.web.certificates import BETWEEN_MAX, CHAIN_HEADER, HEADER, ClientCertificates
from tests.sim.certificate import Authority

PROXIES = ("10.0.0.7", "192.0.2.0/24", "2001:db8::/64")


def told(*ders: bytes) -> bytes:
    return b", ".join(b":" + base64.b64encode(der) + b":" for der in ders)


def scope(address: str | None, *own: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"extensions": {"tls": {"client_cert_chain": list(own)}}} if own else {}
    return {"client": (address, 40000) if address is not None else None, **shown}


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("10.0.0.7", True),
        ("192.0.2.200", True),
        ("::ffff:10.0.0.7", True),
        ("2001:db8::9", True),
        ("10.0.0.8", False),
        ("::ffff:10.0.0.8", False),
        ("127.0.0.1", False),
        ("2001:db8:1::9", False),
        ("", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_it_is_read_from_a_configured_proxys_address_alone(address: str | None, believed: bool) -> None:
    asked = ClientCertificates(PROXIES), scope(address), {HEADER: told(b"leaf")}
    if believed:
        found = asked[0].of(*asked[1:])
        assert found is not None
        assert (found.der, found.between) == (b"leaf", ())
        return
    for reader in (asked[0], ClientCertificates(())):
        with pytest.raises(BadRequest) as refused:
            reader.of(*asked[1:])
        assert refused.value.error_code == "http.client_cert"


def test_the_chain_comes_along_in_order_and_bounded() -> None:
    reader, proxy = ClientCertificates(PROXIES), scope("10.0.0.7")
    found = reader.of(proxy, {HEADER: told(b"leaf"), CHAIN_HEADER: told(b"one", b"two")})
    assert found is not None
    assert found.between == (b"one", b"two")
    for chain in (told(*[b"x"] * (BETWEEN_MAX + 1)), b", ", told(b"one") + b",", b":=:"):
        with pytest.raises(BadRequest):
            reader.of(proxy, {HEADER: told(b"leaf"), CHAIN_HEADER: chain})


def test_a_handshakes_certificate_is_the_requests_and_stands_alone() -> None:
    issued, reader = Authority("ops").issue("am"), ClientCertificates(PROXIES)
    own = scope("10.0.0.7", ssl.DER_cert_to_PEM_cert(issued.der))
    found = reader.of(own, {})
    assert found is not None
    assert found.der == issued.der
    assert reader.of(scope("10.0.0.7"), {}) is None
    with pytest.raises(BadRequest):
        reader.of(own, {HEADER: told(issued.der)})
