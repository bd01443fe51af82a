"""Which addresses and spellings the gate may connect to. Pure: no socket, no lookup.

Public addresses are those outside the IANA special-purpose registries (checked 2026-09). Loopback, private, link-local
and other special addresses are permitted only where ``allow_networks`` names their network; metadata addresses only
where it names exactly that address; the unspecified address and multicast never. An IPv6 address that carries an IPv4
address (mapped, NAT64, compatible) is judged by the address it carries; 6to4 and Teredo are not public.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from broker.errors import BadRequest, Denied

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, GCP, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "169.254.0.23",  # Tencent
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure wire server: a public address
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where clouds hand out credentials to whoever asks."""

_SPECIAL_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NEVER: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text) for text in ("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8")
)
"""No unicast destination: the unspecified address reaches the gate's own machine."""
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")

_BASE_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9_.-]*[a-z0-9])?)(:(?P<port>[1-9][0-9]{0,4}))?(?P<path>(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*)/?",
    re.ASCII,
)


class AddressRule:
    """Which addresses may be connected to."""

    def __init__(self, allow_networks: Sequence[str] = ()) -> None:
        """``allow_networks`` are CIDRs; raises ``BadRequest`` (``config.network``) for anything else."""
        try:
            self._allowed: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in allow_networks)
        except ValueError as error:
            raise BadRequest(
                f"field `allow_networks` holds no network: {error}",
                code="config.network",
                remedy="write each network as a CIDR without host bits, such as 10.2.0.0/16 or 127.0.0.1/32",
            ) from None

    def permits(self, text: str) -> bool:
        """Judge one numeric address; anything that is not exactly one is refused."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                return False
            if address.ipv4_mapped is not None:
                return self._permits(address.ipv4_mapped)
            inner = _carried(address)
            if inner is not None:
                named = any(address in network for network in self._allowed if network.version == 6)
                return self._permits(inner) or (named and inner not in METADATA)
        return self._permits(address)

    def _permits(self, address: Address) -> bool:
        if any(address in network for network in _NEVER if network.version == address.version):
            return False
        naming = [network for network in self._allowed if network.version == address.version and address in network]
        if address in METADATA:
            return any(network.num_addresses == 1 for network in naming)
        return bool(naming) or _public(address)


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside a NAT64 (RFC 6052, RFC 8215) or IPv4-compatible address; ::1 carries none."""
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def forbidden(name: str) -> Denied:
    """The refusal of an address or origin that this upstream may not reach."""
    return Denied(
        f"the address is not one that connector `{name}` may reach; nothing was sent",
        code="egress.forbidden",
        remedy="the operator names the network in `allow_networks` of this connector, if it is meant to be reached",
    )


def origin_of(name: str, base_url: str, *, private: bool) -> tuple[str, str]:
    """(``scheme://host:port``, base path) of a strictly written base URL; raises ``BadRequest`` (``config.base_url``).

    One spelling only: lower-case ASCII, no credentials, zone ids, trailing dots, percent signs or odd numerals. Plain
    http is for origins in networks that the operator named (``private``).
    """
    match = _BASE_URL.fullmatch(base_url)
    if match is None or not _one_spelling(match["host"]) or int(match["port"] or 1) > 65535:
        raise BadRequest(
            f"field `base_url` of connector `{name}` is not a plain http(s) address",
            code="config.base_url",
            remedy="write https://host[:port][/path] in lower case, international names in their xn-- form",
        )
    if match["scheme"] == "http" and not private:
        raise BadRequest(
            f"field `base_url` of connector `{name}` would send credentials in clear over public networks",
            code="config.base_url",
            remedy="use https, or name the private network in `allow_networks`",
        )
    port = match["port"] or ("443" if match["scheme"] == "https" else "80")
    return f"{match['scheme']}://{match['host']}:{port}", match["path"]


def _one_spelling(host: str) -> bool:
    """True for canonical addresses and for names whose last label cannot be read as a number (WHATWG URL)."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1]
        except ValueError:
            return False
    labels = host.split(".")
    if not all(labels) or len(host) > 253 or any(len(label) > 63 for label in labels):
        return False
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]) is None:
        return True
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
