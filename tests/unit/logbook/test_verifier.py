"""The arithmetic of the bundle's verifier says of every signature what a library says."""

import hashlib
import importlib.machinery
import importlib.util
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.signed import holds
from broker.logbook import bundle

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
RANDOM = random.Random(7)
DATA = b"authenticator data"
CLIENT = b'{"type": "webauthn.get"}'
MESSAGE = DATA + hashlib.sha256(CLIENT).digest()


@pytest.fixture(scope="module")
def verifier() -> Any:
    """The file of the bundle as a module."""
    loader = importlib.machinery.SourceFileLoader("bundle_verifier", str(bundle.VERIFIER))
    spec = importlib.util.spec_from_loader("bundle_verifier", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def der(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def changed(content: bytes, times: int) -> Iterator[bytes]:
    """One bit turned at drawn places; one byte less, one more."""
    for _ in range(times):
        bit = RANDOM.randrange(len(content) * 8)
        yield content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
    yield content[:-1]
    yield content + b"\x00"
    yield b""


def agreed(verifier: Any, key: bytes, value: bytes) -> bool:
    """What both say, or a failure where they differ."""
    ours = verifier.holds(key, MESSAGE, value)
    assert ours == holds(key, DATA, CLIENT, value), (key.hex(), value.hex())
    return bool(ours)


def test_ecdsa_on_p256_agrees_with_the_library(verifier: Any) -> None:
    for _ in range(2):
        private = derive_private_key(RANDOM.randrange(1, ORDER), SECP256R1())
        key, value = der(private), private.sign(MESSAGE, ECDSA(SHA256()))
        r, s = decode_dss_signature(value)
        assert agreed(verifier, key, value)
        assert agreed(verifier, key, encode_dss_signature(r, ORDER - s))
        wrong = [encode_dss_signature(*both) for both in ((r, 0), (0, s), (r + ORDER, s), (r, s + ORDER), (s, r))]
        long_form = b"\x30\x81" + value[1:]
        padded = b"\x30" + bytes([value[1] + 1, 2, value[3] + 1, 0]) + value[4:]
        for other in (*wrong, long_form, padded, *changed(value, 5)):
            assert not agreed(verifier, key, other)
        for other in changed(key, 5):
            assert not agreed(verifier, other, value)


def test_ed25519_agrees_with_the_library(verifier: Any) -> None:
    for _ in range(2):
        private = Ed25519PrivateKey.from_private_bytes(RANDOM.randbytes(32))
        key, value = der(private), private.sign(MESSAGE)
        assert agreed(verifier, key, value)
        for other in changed(value, 5):
            assert not agreed(verifier, key, other)
        for other in changed(key, 5):
            assert not agreed(verifier, other, value)


def test_a_key_of_another_kind_holds_for_nothing(verifier: Any) -> None:
    value = Ed25519PrivateKey.generate().sign(MESSAGE)
    assert not verifier.holds(b"", MESSAGE, value)
    assert not verifier.holds(bytes.fromhex("302a300506032b656e032100") + bytes(32), MESSAGE, value)
