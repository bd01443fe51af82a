"""Configuration: what it says is what the gate does, and what it does not know stops the start."""

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker import config
from broker import sections as sections_of_identity
from broker.clock import SeededClock
from broker.errors import BadRequest
from broker.wiring import Development, Wiring
from tests.parts import ROOT

ISSUER = """
[[identity.issuers]]
name = "corp"
issuer = "https://id.example"
audiences = ["gate"]
tenant = "default"
"""
CERTIFICATE = """
[gate]
client_cert_proxies = ["10.0.0.1"]
[[identity.certificates]]
name = "am"
tenant = "default"
"""
TWO_TENANTS = (
    CERTIFICATE.replace("[[", 'client_ca_file = "ca.pem"\n[[')
    + """san = "dns:am"
[[identity.certificates]]
name = "other"
tenant = "beta"
san = "dns:other"
"""
)


def load(tmp_path: Path, text: str, **environment: str) -> config.Settings:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return config.load(path, environment)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gate]\nprot = 1", "gate.prot"),
        ("[extra]\na = 1", "extra"),
        (ISSUER + 'profile = "dev"', "profile"),
        (ISSUER + 'profile = "none"', "profile"),
        (ISSUER + 'sender_constraint = "mtls"', "client certificates come by"),
        ('[gate]\ntls_key_file = "key.pem"', "together"),
        ('[gate]\nclient_cert_proxies = ["0.0.0.0/0"]', "no proxy"),
        ('[gate]\nclient_cert_proxies = ["proxy"]', "client_cert_proxies"),
        (CERTIFICATE + 'san = "dns:am"', "gate.client_ca_file"),
        (CERTIFICATE + 'san = "dns:*.am"', "certificates.0.san"),
        (CERTIFICATE, "exactly one"),
        (CERTIFICATE + f'san = "dns:am"\nthumbprint = "{"0" * 64}"', "exactly one"),
        (TWO_TENANTS, "`am` needs `authority`"),
        (TWO_TENANTS + f'authority = "{"0" * 64}"', "`am` needs `authority`"),
        ("[identity]\nkeyset_seconds = 0", "keyset_seconds"),
        ("[web]\nattempts_per_minute_max = 0", "attempts_per_minute_max"),
    ],
)
def test_what_the_gate_does_not_do_cannot_be_configured(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        load(tmp_path, text)
    assert caught.value.error_code == "config.invalid"


def test_senders_of_two_tenants_are_told_apart_by_their_authorities(tmp_path: Path) -> None:
    authority = f'authority = "{"0" * 64}"\n'
    text = TWO_TENANTS.replace('"dns:am"\n', '"dns:am"\n' + authority) + authority
    assert {one.authority for one in load(tmp_path, text).identity.certificates} == {"0" * 64}
    assert load(tmp_path, TWO_TENANTS.replace("beta", "default")).identity.certificates


def sections() -> list[type[BaseModel]]:
    kinds = [one for module in (config, sections_of_identity) for one in vars(module).values() if isinstance(one, type)]
    return [one for one in kinds if issubclass(one, config.Section) and one is not config.Section]


def test_every_setting_is_read_somewhere() -> None:
    """By name, as an attribute or as a key of a section that is passed on whole."""
    read: set[str] = set()
    for path in (ROOT / "broker").rglob("*.py"):
        whole = path in {ROOT / "broker/config.py", ROOT / "broker/sections.py"}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                read.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not whole:
                read.add(node.value)
    unread = [f"{kind.__name__}.{name}" for kind in sections() for name in kind.model_fields if name not in read]
    assert unread == []


def test_the_times_of_key_sets_are_those_of_the_configuration(tmp_path: Path, clock: SeededClock) -> None:
    text = f'[gate]\ndata = "{tmp_path / "data"}"\n[identity]\nkeyset_seconds = 120\nkeyset_stale_seconds_max = 900\n'
    gate = Wiring(load(tmp_path, text + ISSUER), clock=clock)
    (keys,) = gate.identity._keys.values()
    assert (keys._times.ttl, keys._times.stale_max) == (120, 900)


def test_the_development_profile_comes_with_development_alone(tmp_path: Path, clock: SeededClock) -> None:
    settings = load(tmp_path, f'[gate]\ndata = "{tmp_path / "data"}"\n' + ISSUER)
    assert set(Wiring(settings, clock=clock).identity._keys) == {"corp"}
    development = Development(code="TESTCODE42", policies=ROOT / "policies")
    assert set(Wiring(settings, clock=clock, development=development).identity._keys) == {"corp", "dev"}


def test_the_environment_overrides_one_value_of_a_section(tmp_path: Path) -> None:
    values: dict[str, Any] = {"WICKETGATE_WEB_ATTEMPTS_BURST_MAX": "7"}
    assert load(tmp_path, "", **values).web.attempts_burst_max == 7


def test_the_environment_sets_lists_parted_by_commas(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[gate]\nallowed_hosts = ["a"]\n[kill]\nroles = ["oncall"]\n')
    given = {"WICKETGATE_GATE_ALLOWED_HOSTS": "gate.example, 10.0.0.7:8480,", "WICKETGATE_KILL_ROLES": ""}
    read = config.load(file, given)
    assert read.gate.allowed_hosts == ("gate.example", "10.0.0.7:8480")
    assert read.kill.roles == ()
