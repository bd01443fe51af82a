"""A signer, a tiny policy folder that each test may change, and bundles of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.policy.bundle import Bundle, build_bundle
from broker.policy.keys import SigningKey

TINY = Path(__file__).parent / "fixtures" / "tiny"


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey("team", Ed25519PrivateKey.generate())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "policies"))


@pytest.fixture
def build(folder: Path, key: SigningKey) -> Callable[[str], Bundle]:
    return lambda revision: build_bundle(folder, key, revision)


@pytest.fixture
def ask() -> Callable[..., dict[str, Any]]:
    def make(*roles: str, action: str = "shop.orders.read", effect: str = "read") -> dict[str, Any]:
        return {
            "schema": "broker.input/v1",
            "subject": {"id": "dev:anna", "roles": list(roles)},
            "action": {"name": action, "effect": effect, "properties": {"arguments": {}}},
            "context": {"now_s": 1_767_225_600},
        }

    return make
