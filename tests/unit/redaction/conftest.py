"""A redactor on an in-memory vault."""

import pytest

from broker.clock import SeededClock
from broker.redaction import MemoryRows, Redactor, Scope, Vault, profiles_from

KEKS = {"eu": b"e" * 32, "us": b"u" * 32}


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
def redactor(rows: MemoryRows, clock: SeededClock) -> Redactor:
    profiles = profiles_from(
        {
            "default": {"entities": {}},
            "domains": {
                "entities": {
                    "EMAIL": {"op": "pseudonym", "keep": "domain"},
                    "CARD": {"op": "pseudonym", "keep": "last4"},
                }
            },
            "open": {
                "entities": {
                    "IP": {"op": "keep"},
                    "SECRET": {"op": "keep"},
                    "PHONE": {"op": "shred"},
                    "MAC": {"op": "prefix"},
                }
            },
            "strict": {"entities": {}, "max_unscanned": 0},
        }
    )
    return Redactor(vault=Vault(rows, KEKS), profiles=profiles, clock=clock)


@pytest.fixture
def scope() -> Scope:
    return Scope("default", "ses_a", "eu")
