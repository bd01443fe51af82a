"""DPoP proofs (RFC 9449): the sender shows, for this request, that it holds the key the token is bound to.

Proofs are used once: their ``jti`` is remembered for as long as their ``iat`` is acceptable, in this process, and where
several replicas share a database, there. A process that remembers alone takes no proof from before its start.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from joserfc.errors import JoseError

from broker.errors import Unauthenticated
from broker.identity.jose import Key, read_json_object, take_apart, verify
from broker.identity.keys import WeakKey, import_key
from broker.model import Json

PROOF_SECONDS_MAX = 60
PROOFS_MAX = 50_000
ALGORITHMS = frozenset({"ES256", "ES384", "Ed25519", "EdDSA", "PS256", "RS256"})


def unproven(why: str) -> Unauthenticated:
    """The refusal of a bound token without its proof."""
    return Unauthenticated(
        f"the token is bound to a key that this request does not prove: {why}",
        code="identity.bound_unproven",
        remedy="send a fresh proof of possession with every request, as the token's issuer requires",
    )


@dataclass(frozen=True, slots=True, repr=False)
class Expected:
    """What a proof must be about: this token, bound to this key, in this request."""

    token: str
    thumbprint: str
    method: str
    url: str


Uses = Callable[[str, str, int], Awaitable[bool]]
"""Note a proof (tenant, SHA-256 in hex, the second until which it could come again); False where it was used before."""


class ProofChecker:
    """Checks proofs and remembers their ids. When the memory is full, nothing more is accepted until some expire."""

    def __init__(self, proofs_max: int = PROOFS_MAX, *, since_s: int = 0, uses: Uses | None = None) -> None:
        """``uses`` is the memory that replicas share; a process without takes no proof from before ``since_s``."""
        self._seen: dict[str, int] = {}
        self._proofs_max = proofs_max
        self._since_s = since_s
        self._uses = uses

    async def check(self, proof: str, expected: Expected, now_s: int, tenant: str) -> None:
        """RFC 9449 section 4.3, in its order; returns only if every point holds, else ``identity.bound_unproven``.

        Raises ``Unavailable`` where the shared memory cannot be asked.
        """
        try:
            compact = take_apart(proof, embedded_key=True)
            jwk = compact.header.get("jwk")
            if compact.header.get("typ") != "dpop+jwt" or not isinstance(jwk, dict):
                raise unproven("the proof is not of type dpop+jwt with its key")
            key = import_key(jwk, ALGORITHMS)
            verify(compact, key, ALGORITHMS)
            claims = read_json_object(compact.payload, "proof")
        except WeakKey:
            raise unproven("the proof's key is not an acceptable public key") from None
        except Unauthenticated as error:
            raise unproven(error.detail) from None
        if claims.get("htm") != expected.method or not _same_target(claims.get("htu"), expected.url):
            raise unproven("the proof is for another request")
        issued = claims.get("iat")
        if type(issued) is not int or abs(now_s - issued) > PROOF_SECONDS_MAX:
            raise unproven("the proof is not from this minute")
        if self._uses is None and issued < self._since_s:
            raise unproven("the proof is from before the gate's start")
        if claims.get("ath") != _hash(expected.token):
            raise unproven("the proof is for another token")
        if _thumbprint(key) != expected.thumbprint:
            raise unproven("the proof is by another key")
        name = self._use_once(claims.get("jti"), expected.thumbprint, issued, now_s)
        if self._uses is not None and not await self._uses(tenant, name, issued + PROOF_SECONDS_MAX):
            raise unproven("the proof was used before")

    def _use_once(self, jti: Json, thumbprint: str, issued: int, now_s: int) -> str:
        if not isinstance(jti, str) or not 8 <= len(jti) <= 255:
            raise unproven("the proof has no proper id")
        if len(self._seen) >= self._proofs_max:
            self._seen = {k: until for k, until in self._seen.items() if until >= now_s}
        name = hashlib.sha256(f"{thumbprint} {jti}".encode()).hexdigest()
        if name in self._seen or len(self._seen) >= self._proofs_max:
            raise unproven("the proof was used before")
        self._seen[name] = issued + PROOF_SECONDS_MAX
        return name


def _same_target(htu: Json, url: str) -> bool:
    """Whether two URLs name one target without query and fragment; scheme and host in any case, default port or none."""
    if not isinstance(htu, str):
        return False
    try:
        return _target(htu) == _target(url)
    except ValueError:
        return False


def _target(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port, parts.path or "/"


def _hash(token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def _thumbprint(key: Key) -> str:
    try:
        return key.thumbprint()
    except JoseError:
        raise unproven("the proof's key has no thumbprint") from None
