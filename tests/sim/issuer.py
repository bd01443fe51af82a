"""An OIDC issuer inside the test: real keys, real tokens, and every way to forge one.

It is a world to be mutated: rotate or withdraw keys, take the issuer down, count how often it was asked.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from broker.clock import Clock, seconds
from broker.identity.profiles import IssuerProfile, issuer_profile

ISSUER = "https://id.example"
AUDIENCE = "https://gate.example"
KINDS = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "Ed25519": ("OKP", "Ed25519")}
_every = JWSRegistry(algorithms=list(JWSRegistry.algorithms))

Key = ECKey | RSAKey | OKPKey | OctKey


def b64(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compact(value: Any) -> bytes:
    """JSON bytes as most issuers write them."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def sign(header: bytes, payload: bytes, key: Key | None, algorithm: str) -> str:
    """A compact JWS over exactly these bytes, whatever they are; ``none`` signs with nothing."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    if algorithm == "none" or key is None:
        return signing_input + "."
    model: Any = _every.get_alg(algorithm)
    return f"{signing_input}.{b64(model.sign(signing_input.encode(), key))}"


@functools.cache
def rsa_key(name: str, bits: int = 2048) -> RSAKey:
    """An RSA key, made once per test run: making one takes a tenth of a second."""
    return RSAKey.generate_key(bits, {"use": "sig", "alg": "RS256", "kid": name})


class Issuer:
    """One issuer; ``keys`` are what it signs with, ``published`` what its JWKS shows."""

    def __init__(self, clock: Clock, url: str = ISSUER, algorithm: str = "ES256") -> None:
        self.clock = clock
        self.url = url
        self.algorithm = algorithm
        self.keys: dict[str, Key] = {}
        self.published: dict[str, Any] = {}
        self.down: Exception | None = None
        self.asked: list[str] = []
        self.current = ""
        self._issued = 0
        self.rotate()

    def rotate(self, *, publish: bool = True) -> str:
        """A new signing key; the previous one stays published until ``withdraw``."""
        kid = f"k{len(self.keys) + 1}"
        if self.algorithm.startswith(("RS", "PS")):
            key: Key = rsa_key(kid)
        elif self.algorithm in KINDS and KINDS[self.algorithm][0] == "EC":
            key = ECKey.generate_key(KINDS[self.algorithm][1], {"use": "sig", "alg": self.algorithm, "kid": kid})
        else:
            key = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": "Ed25519", "kid": kid})
        self.keys[kid], self.current = key, kid
        if publish:
            self.publish(kid)
        return kid

    def publish(self, kid: str, **members: Any) -> None:
        """Show a key in the JWKS, with extra or changed members."""
        public = {**self.keys[kid].as_dict(private=False), **members}
        self.published[kid] = {name: value for name, value in public.items() if value is not None}

    def withdraw(self, kid: str) -> None:
        """Take a key out of the JWKS."""
        del self.published[kid]

    def jwks(self) -> bytes:
        """The JWKS document."""
        return compact({"keys": list(self.published.values())})

    async def fetch(self, url: str) -> bytes:
        """What the gate's egress would answer."""
        self.asked.append(url)
        if self.down is not None:
            raise self.down
        if url == f"{self.url}/.well-known/openid-configuration":
            return compact({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})
        assert url == f"{self.url}/jwks"
        return self.jwks()

    def profile(self, **values: Any) -> IssuerProfile:
        """A strict profile for this issuer; keyword arguments are keys of ``[[identity.issuers]]``."""
        table = {
            "name": "corp",
            "profile": "rfc9068",
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "audiences": (AUDIENCE,),
            "algorithms": (self.algorithm,),
            "roles": {"sre": "oncall", "sec": "security", "bots": "agent"},
            "tenant": "default",
            "agents": ("agent-1", "agent-2"),
        }
        return issuer_profile({**table, **values})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a person's access token; a change to None removes the claim."""
        now = seconds(self.clock)
        self._issued += 1
        claims = {
            "iss": self.url,
            "sub": "alice",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": f"t{self._issued}",
            "client_id": "cli",
            "groups": ["sre"],
            "scope": "ops:act ops:read",
            "auth_time": now - 5,
            "acr": "mfa",
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def agent_claims(self, client: str = "agent-1", **changes: Any) -> dict[str, Any]:
        """Claims of an agent's own token (client credentials)."""
        return self.claims(
            **{"sub": client, "client_id": client, "groups": ["bots"], "acr": None, "auth_time": None} | changes
        )

    def token(self, claims: Mapping[str, Any] | None = None, **header: Any) -> str:
        """An access token; keyword arguments change the header, None removes a member."""
        written = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.current, **header}
        head = compact({name: value for name, value in written.items() if value is not None})
        payload = compact(self.claims() if claims is None else dict(claims))
        return sign(head, payload, self.keys[self.current], self.algorithm)

    def raw(self, header: bytes, payload: bytes) -> str:
        """A token over exactly these bytes, with a signature that holds."""
        return sign(header, payload, self.keys[self.current], self.algorithm)

    def header(self, **changes: Any) -> bytes:
        """The usual header's bytes."""
        return compact({"alg": self.algorithm, "typ": "at+jwt", "kid": self.current, **changes})


def thumbprint(key: Key) -> str:
    """RFC 7638 thumbprint, as in ``cnf.jkt``."""
    return key.thumbprint()


def dpop_proof(key: ECKey, clock: Clock, token: str, method: str, url: str, **changes: Any) -> str:
    """A DPoP proof (RFC 9449); keyword arguments change its claims, ``jwk`` and ``typ`` its header."""
    header = {
        "typ": changes.pop("typ", "dpop+jwt"),
        "alg": "ES256",
        "jwk": changes.pop("jwk", key.as_dict(private=False)),
    }
    claims = {
        "htm": method,
        "htu": url,
        "iat": seconds(clock),
        "jti": "proof-0001",
        "ath": b64(hashlib.sha256(token.encode()).digest()),
    }
    claims |= changes
    return sign(compact(header), compact({k: v for k, v in claims.items() if v is not None}), key, "ES256")
