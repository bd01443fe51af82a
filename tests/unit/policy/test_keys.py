import base64
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import BadRequest
from broker.policy.keys import DEV_KEY_ID, SigningKey, dev_key, read_private, read_public, read_signers


def pem(private: Any) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_development_key_is_refused_without_dev(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        dev_key(tmp_path, dev=False)
    assert caught.value.error_code == "policy.dev_key_refused"
    assert list(tmp_path.iterdir()) == []


def test_a_development_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    made = dev_key(tmp_path / "keys", dev=True)
    again = dev_key(tmp_path / "keys", dev=True)
    path = tmp_path / "keys" / "policy-dev.key"
    assert made.id == DEV_KEY_ID
    assert made.public_pem() == again.public_pem()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_public_keys_are_read_from_pem_and_from_raw_base64(key: SigningKey) -> None:
    raw = base64.b64encode(key.public.public_bytes_raw()).decode()
    signers = read_signers({"a": key.public_pem(), "b": raw})
    assert [each.public_bytes_raw() for each in signers.values()] == [key.public.public_bytes_raw()] * 2


@pytest.mark.parametrize(
    "text", ["", "AAAA", "not base64!", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_what_is_no_public_key_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match="signer `team-1`"):
        read_public(text, "team-1")


def test_public_keys_of_another_kind_are_refused(key: SigningKey) -> None:
    with pytest.raises(BadRequest):
        read_public(key.opa_public_pem(), "team")


def test_private_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    with pytest.raises(BadRequest, match="not an Ed25519 key"):
        read_private(path, "team")
    with pytest.raises(BadRequest, match="FileNotFoundError"):
        read_private(tmp_path / "absent", "team")


def test_the_key_for_opa_follows_from_the_secret_alone() -> None:
    secret = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    derived = SigningKey("a", secret).for_opa
    assert isinstance(derived.curve, ec.SECP256R1)
    assert derived.private_numbers() == SigningKey("b", secret).for_opa.private_numbers()
    other = SigningKey("a", Ed25519PrivateKey.from_private_bytes(bytes(32))).for_opa
    assert derived.private_numbers() != other.private_numbers()


def test_a_signing_key_does_not_print_its_secret(key: SigningKey) -> None:
    assert "private" not in repr(key)
