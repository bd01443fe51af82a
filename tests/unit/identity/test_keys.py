"""Which published keys are used, and which are left out."""

from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey

from broker.identity.jose import ALGORITHMS
from broker.identity.keys import WeakKey, import_jwks, import_key, is_roca
from tests.sim.issuer import b64, compact, rsa_key

EC = ECKey.generate_key("P-256").as_dict(private=False)
ED = OKPKey.generate_key("Ed25519").as_dict(private=False)


def integer(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa(**changes: Any) -> dict[str, Any]:
    return {**rsa_key("k1").as_dict(private=False), **changes}


@pytest.mark.parametrize(
    "jwk",
    [
        EC,
        ED,
        rsa(),
        {**EC, "use": "sig", "alg": "ES256"},
        {**EC, "key_ops": ["verify"]},
        {**EC, "x5c": ["MII"], "x-vendor": 1},
    ],
)
def test_a_sound_public_key_is_used(jwk: dict[str, Any]) -> None:
    assert import_key(jwk, ALGORITHMS)


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        (ECKey.generate_key("P-256").as_dict(private=True), "private"),
        (rsa_key("k1").as_dict(private=True), "private"),
        ({"kty": "oct", "k": "AAAA"}, "private or symmetric"),
        ({"kty": "oct"}, "not one this issuer"),
        ({**EC, "use": "enc"}, "not for signatures"),
        ({**EC, "use": ["sig"]}, "not for signatures"),
        ({**EC, "key_ops": ["sign"]}, "not for verifying"),
        ({**EC, "key_ops": "verify"}, "not for verifying"),
        ({**EC, "alg": "ES384"}, "alg"),
        ({**EC, "alg": "RSA-OAEP"}, "alg"),
        ({**EC, "crv": "secp256k1"}, "curve"),
        ({**EC, "crv": "P-384"}, "length"),
        ({**EC, "x": EC["x"][:-4]}, "length|not valid"),
        ({**EC, "x": EC["y"]}, "not valid"),
        ({**EC, "x": EC["x"] + "="}, "not valid"),
        ({**EC, "y": None}, "length|not valid"),
        ({**ED, "crv": "X25519"}, "curve"),
        ({**ED, "x": ED["x"][:-4]}, "length|not valid"),
        (rsa(n=integer(2**1023 + 1)), "modulus"),
        (rsa(n=integer(2**8192 + 1)), "modulus"),
        (rsa(n=integer(2**2047)), "broken"),
        (rsa(e=integer(1)), "exponent"),
        (rsa(e=integer(3)), "exponent"),
        (rsa(e=integer(65_538)), "exponent"),
        (rsa(e=integer(2**64 + 1)), "exponent"),
        ({"kty": "RSA"}, "not valid"),
        ({}, "type"),
        ({"kty": ["RSA"]}, "type"),
    ],
)
def test_any_other_key_is_left_out_with_its_reason(jwk: dict[str, Any], why: str) -> None:
    with pytest.raises(WeakKey, match=why):
        import_key(jwk, ALGORITHMS)


def test_a_key_outside_the_issuers_algorithms_is_left_out() -> None:
    with pytest.raises(WeakKey):
        import_key(EC, {"RS256"})


def test_unusable_keys_beside_good_ones_do_no_harm() -> None:
    listed = [
        {**EC, "kid": "good"},
        {**EC, "kid": 7},
        EC,
        {**EC, "kid": ""},
        {**EC, "kid": "k" * 257},
        {"kty": "AKP", "kid": "pq"},
    ]
    assert list(import_jwks(compact({"keys": listed}), ALGORITHMS)) == ["good"]


def test_a_kid_that_two_keys_share_names_neither_even_if_one_of_them_is_unusable() -> None:
    listed = [{**EC, "kid": "same"}, {"kty": "oct", "k": "AA", "kid": "same"}, {**ED, "kid": "other"}]
    assert list(import_jwks(compact({"keys": listed}), ALGORITHMS)) == ["other"]


def test_moduli_built_as_the_broken_generator_built_them_are_recognised() -> None:
    primorial = 1
    for prime in (p for p in range(2, 168) if all(p % f for f in range(2, p))):
        primorial *= prime
    first = 5 * primorial + pow(65_537, 1234, primorial)
    second = 9 * primorial + pow(65_537, 4321, primorial)
    assert is_roca(first * second)
    assert not is_roca(first * second + 2 * primorial + 4)


def test_ordinary_moduli_are_not_taken_for_broken_ones() -> None:
    assert not any(
        is_roca(int.from_bytes(__import__("hashlib").sha512(bytes([n])).digest() * 4, "big") | 1) for n in range(250)
    )
