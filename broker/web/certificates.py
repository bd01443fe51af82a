"""The client certificate of a request: the gate's own TLS saw it, or a configured proxy that ended TLS says it (RFC 9440)."""

import base64
import binascii
import re
import ssl
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from broker.errors import BadRequest
from broker.identity import Certificate

HEADER = b"client-cert"
CHAIN_HEADER = b"client-cert-chain"
BETWEEN_MAX = 8
"""Certificates between the client's and its authority."""
_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]+={0,2}):\Z")


class ClientCertificates:
    """Reads it from one place or refuses: what two places say, or nobody answers for, is not believed."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """``proxies`` are the networks whose ``Client-Cert`` is believed."""
        self._proxies = tuple(ip_network(one) for one in proxies)

    def of(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Certificate | None:
        """The certificate, if the request has one; raises ``BadRequest``. The guard lets no header come twice."""
        own = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
        if HEADER not in headers and CHAIN_HEADER not in headers:
            return Certificate(ssl.PEM_cert_to_DER_cert(own[0])) if own else None
        if not self._is_proxy(scope):
            raise _refused("only a proxy of gate.client_cert_proxies says what certificate its client has")
        if own:
            raise _refused("the connection shows a certificate of its own")
        if HEADER not in headers:
            raise _refused("a chain without its first certificate")
        chain = headers.get(CHAIN_HEADER, b"")
        between = tuple(_bytes(one.strip(b" \t")) for one in chain.split(b",")) if chain else ()
        if len(between) > BETWEEN_MAX:
            raise _refused(f"a chain of more than {BETWEEN_MAX}")
        return Certificate(_bytes(headers[HEADER]), between)

    def _is_proxy(self, scope: Mapping[str, Any]) -> bool:
        """Whether the connection comes from a configured proxy."""
        client = scope.get("client")
        if not client or not self._proxies:
            return False
        try:
            address = ip_address(client[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)


def _bytes(item: bytes) -> bytes:
    """A byte sequence of RFC 8941, and nothing beside it."""
    found = _SEQUENCE.match(item)
    try:
        if found is not None:
            return base64.b64decode(found.group(1), validate=True)
    except binascii.Error:
        pass
    raise _refused("not base64 between colons")


def _refused(why: str) -> BadRequest:
    return BadRequest(
        f"header `client-cert` is not believed: {why}",
        code="http.client_cert",
        remedy="leave the header out; a proxy that ends TLS is named in gate.client_cert_proxies",
    )
