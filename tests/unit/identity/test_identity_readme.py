"""The spec of this room says what the code does."""

import re
import tomllib

from broker.config import Settings
from broker.identity import issuer_profile
from broker.identity.profiles import PRESETS
from tests.parts import ROOT

README = (ROOT / "broker/identity/README.md").read_text()


def test_the_tables_load_as_configuration_and_the_keycloak_one_as_a_profile() -> None:
    workloads, keycloak, certificates = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    bound = [
        issuer_profile(one.model_dump()) for one in Settings.model_validate(tomllib.loads(workloads)).identity.issuers
    ]
    assert [(one.name, one.bound[0].name) for one in bound] == [
        ("builds", "deployer"),
        ("cluster", "triage"),
        ("spire", "sre"),
    ]
    assert Settings.model_validate(tomllib.loads(certificates)).identity.certificates[0].san
    settings = Settings.model_validate(tomllib.loads(keycloak))
    profile = issuer_profile(settings.identity.issuers[0].model_dump())
    assert (profile.name, profile.payload_types, profile.tenant) == ("corp", {"Bearer", "DPoP"}, "default")


def test_every_code_that_the_room_raises_is_listed_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "broker/identity").glob("*.py"))
    raised = set(re.findall(r'code="(identity\.[a-z_]+)"', sources)) - {"identity.keyset_invalid"}
    assert raised == set(re.findall(r"`(identity\.[a-z_]+)`", README.split("## Refusals")[1]))


def test_every_preset_is_described() -> None:
    profiles = README.split("## Profiles")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", profiles, re.MULTILINE)) == set(PRESETS)
