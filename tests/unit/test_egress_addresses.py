"""Which addresses the way out may connect to, and the one spelling of a base address."""

import pytest

from broker.egress import AddressRule, Egress, UpstreamSettings
from broker.errors import BadRequest

# -- addresses -------------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1", "169.254.1.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fd12::1", "ff02::1", "2001:db8::1", "3fff::1",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:0:0", "::127.0.0.1", "::10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "①②⑦.0.0.1", "localhost", "",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_by_default(address: str) -> None:
    assert not AddressRule().permits(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert AddressRule().permits(address)


def test_a_named_network_is_permitted_and_no_other() -> None:
    rule = AddressRule(("127.0.0.0/8", "10.2.0.0/16", "::1/128"))
    assert [rule.permits(a) for a in ("127.0.0.1", "10.2.3.4", "::1", "::ffff:10.2.0.1", "10.3.0.1", "192.168.0.1")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "::ffff:169.254.169.254", "64:ff9b:1::a9fe:a9fe"]
)
def test_a_metadata_address_is_refused_inside_a_named_network_and_permitted_only_when_named_exactly(
    address: str,
) -> None:
    wide = AddressRule(("169.254.0.0/16", "fd00::/8", "168.63.0.0/16", "::ffff:0:0/96", "64:ff9b:1::/48"))
    assert not wide.permits(address)
    if ":" not in address:
        assert AddressRule((f"{address}/32",)).permits(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"])
def test_the_unspecified_address_and_multicast_are_refused_even_when_everything_is_named(address: str) -> None:
    assert not AddressRule(("0.0.0.0/0", "::/0")).permits(address)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "*"])
def test_a_network_that_is_not_one_is_refused_by_name_of_the_field(text: str) -> None:
    with pytest.raises(BadRequest, match="allow_networks"):
        AddressRule((text,))


# -- spelling of the base address ------------------------------------------------------------------------------------

SPELLINGS = [
    "http://127.1:{p}", "http://2130706433:{p}", "http://0x7f000001:{p}", "http://0177.0.0.1:{p}", "http://127.0.0.1.:{p}",
    "http://0x7f.1:{p}", "http://017700000001:{p}", "http://[::ffff:127.0.0.1]:{p}", "http://[0:0:0:0:0:0:0:1]:{p}",
    "http://[::1%25lo]:{p}", "http://user@127.0.0.1:{p}", "http://example.com@127.0.0.1:{p}", "http://127。0。0。1:{p}",
    "http://①②⑦.0.0.1:{p}", "http://127.0.0.1:{p}#@example.com", "http://127.0.0.1:{p}?x", "http://exa mple.com:{p}",
    "HTTP://127.0.0.1:{p}", "http:127.0.0.1:{p}", "http:\\\\127.0.0.1:{p}", "//127.0.0.1:{p}", "ftp://127.0.0.1:{p}",
    "http://LOCALHOST:{p}", "http://localhost.:{p}", "http://%6c%6f:{p}", "http://127.0.0.1:0{p}", "http://127.0.0.1:99999",
    "http://\uff4cocalhost:{p}", "http://127.0.0.1:{p}/../x", "http://a..b:{p}", "http://127.0.0.1\t:{p}", "",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_base_address_has_one_spelling(spelling: str) -> None:
    settings = UpstreamSettings(name="x", base_url=spelling.format(p=8080), allow_networks=("127.0.0.0/8", "::1/128"))
    with pytest.raises(BadRequest, match="base_url"):
        Egress().upstream(settings)


def test_plain_http_over_public_networks_is_refused() -> None:
    with pytest.raises(BadRequest, match="in clear"):
        Egress().upstream(UpstreamSettings(name="x", base_url="http://example.com"))
