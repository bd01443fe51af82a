"""JWK sets (RFC 7517) to verification keys: what is weak, private, ambiguous or meant for something else is left out.

A key is used only if it is public, asymmetric, for signatures, named by a ``kid`` that no other key of the document
has, and strong: RSA of 2048 to 8192 bits with a public exponent from 65537, not of the ROCA family (CVE-2017-15361);
EC on P-256, P-384, P-521; Ed25519. Coordinates are canonical and of full length.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from broker import strictjson
from broker.errors import BadRequest, Unauthenticated
from broker.identity.jose import ALGORITHMS, Key, decode_segment
from broker.model import Json

JWKS_BYTES_MAX = 262_144
KEYS_MAX = 128
KID_LENGTH_MAX = 256
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
RSA_EXPONENT_MIN, RSA_EXPONENT_MAX = 65_537, 2**32 + 1

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_COORDINATE_BYTES = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}
_PRIMES = tuple(n for n in range(3, 168, 2) if all(n % factor for factor in range(3, 13, 2) if factor < n))


class WeakKey(Exception):
    """A key that must not be used; the text says why. Not an answer to callers: the key is simply not there."""


def _powers(prime: int) -> frozenset[int]:
    """The residues that powers of 65537 reach modulo ``prime``."""
    seen, value = set(), 1
    while value not in seen:
        seen.add(value)
        value = value * 65_537 % prime
    return frozenset(seen)


_ROCA_RESIDUES = tuple((prime, _powers(prime)) for prime in _PRIMES)


def is_roca(modulus: int) -> bool:
    """Whether ``modulus`` has the fingerprint of the broken Infineon generator (Nemec et al., 2017).

    Its primes are ``k*M + 65537**a mod M``, so the modulus is a power of 65537 modulo every small prime; a sound key
    has that property with probability below 2**-27.
    """
    return all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES)


def import_jwks(document: bytes, algorithms: Collection[str], use: str = "sig") -> dict[str, Key]:
    """Usable keys of a JWK set by ``kid``, for an issuer limited to ``algorithms``, whose signature keys are marked ``use``.

    Raises ``BadRequest`` when the document is no JWK set at all; keys that are not usable are left out in silence,
    because an issuer may publish keys for other purposes (RFC 7517 section 5).
    """
    listed = strictjson.read_object(document, bytes_max=JWKS_BYTES_MAX, floats=True).get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX or not all(isinstance(item, dict) for item in listed):
        raise BadRequest(
            f"a key set must hold `keys`, a list of at most {KEYS_MAX} objects",
            code="identity.keyset_invalid",
            remedy="check the issuer's jwks_uri",
        )
    names = Counter(item["kid"] for item in listed if isinstance(item.get("kid"), str))
    keys: dict[str, Key] = {}
    for item in listed:
        kid = item.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= KID_LENGTH_MAX or names[kid] > 1:
            continue
        try:
            keys[kid] = import_key(item, algorithms, use)
        except WeakKey:
            continue
    return keys


def import_key(jwk: Mapping[str, Json], algorithms: Collection[str], use: str = "sig") -> Key:
    """One public signature key; raises ``WeakKey`` with the reason for anything else."""
    if _PRIVATE_MEMBERS.intersection(jwk):
        raise WeakKey("it holds private or symmetric members")
    if jwk.get("use", use) != use:
        raise WeakKey("it is not for signatures")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise WeakKey("it is not for verifying")
    kty, crv = jwk.get("kty"), jwk.get("crv", "")
    fitting = [name for name, shape in ALGORITHMS.items() if shape == (kty, crv) and name in algorithms]
    if not fitting or jwk.get("alg", fitting[0]) not in fitting:
        raise WeakKey("its type, curve or alg is not one this issuer may use")
    try:
        if kty == "RSA":
            return _rsa(jwk)
        return _on_curve(jwk, str(crv))
    except (JoseError, Unauthenticated, ValueError, TypeError, KeyError):
        # Unauthenticated is decode_segment's refusal of base64url that is not canonical.
        raise WeakKey("its members are not valid") from None


def _rsa(jwk: Mapping[str, Json]) -> RSAKey:
    modulus = int.from_bytes(decode_segment(str(jwk["n"])), "big")
    exponent = int.from_bytes(decode_segment(str(jwk["e"])), "big")
    if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX:
        raise WeakKey("its modulus is too short or too long")
    if not RSA_EXPONENT_MIN <= exponent <= RSA_EXPONENT_MAX or exponent % 2 == 0:
        raise WeakKey("its public exponent is out of range")
    if modulus % 2 == 0 or is_roca(modulus):
        raise WeakKey("its modulus is from a broken generator")
    return RSAKey.import_key(_members(jwk, ("n", "e")))


def _on_curve(jwk: Mapping[str, Json], crv: str) -> ECKey | OKPKey:
    members = ("crv", "x", "y") if jwk["kty"] == "EC" else ("crv", "x")
    for name in members[1:]:
        if len(decode_segment(str(jwk[name]))) != _COORDINATE_BYTES[crv]:
            raise WeakKey("a coordinate has the wrong length")
    if jwk["kty"] == "EC":
        return ECKey.import_key(_members(jwk, members))
    return OKPKey.import_key(_members(jwk, members))


def _members(jwk: Mapping[str, Json], names: tuple[str, ...]) -> dict[str, Any]:
    """Only the members that matter: whatever else an issuer writes into its keys stays outside."""
    return {"kty": str(jwk["kty"]), "use": "sig"} | {n: str(jwk[n]) for n in (*names, "alg") if n in jwk}
