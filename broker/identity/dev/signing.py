"""Keys of the development provider and of its first agent."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from broker.clock import Clock, seconds

ALGORITHM = "ES256"
TOKEN_SECONDS = 600
ROTATE_SECONDS = 86_400
KEEP_SECONDS = TOKEN_SECONDS + 60


class SigningKeys:
    """ES256 keys that rotate; a former key stays published until its last token has expired."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._former: list[tuple[int, ECKey]] = []
        self._current = self._new()
        self._made_at = seconds(clock)

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        now = seconds(self._clock)
        self._former = [(until, key) for until, key in self._former if until > now]
        self._former.append((now + KEEP_SECONDS, self._current))
        self._current, self._made_at = self._new(), now

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A signed JWT of the header type ``typ``."""
        if seconds(self._clock) - self._made_at >= ROTATE_SECONDS:
            self.rotate()
        header = {"alg": ALGORITHM, "typ": typ, "kid": self._current.kid}
        return jwt.encode(header, claims, self._current, algorithms=[ALGORITHM])

    def published(self) -> dict[str, ECKey]:
        """The keys that tokens in force were signed with, by ``kid``."""
        now = seconds(self._clock)
        keys = [self._current] + [key for until, key in self._former if until > now]
        return {str(key.kid): key for key in keys}

    def jwks(self) -> bytes:
        """The JWK set document: public halves only."""
        keys = [key.as_dict(private=False) for key in self.published().values()]
        return json.dumps({"keys": keys}).encode()

    @staticmethod
    def _new() -> ECKey:
        return ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM, "kid": f"dev-{secrets.token_hex(8)}"})


def agent_key(path: Path) -> ECKey:
    """The agent's private key at ``path``; made at first start, readable by its owner only (0600 in a 0700 folder)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM, "kid": path.stem})
    text = json.dumps(key.as_dict(private=True)).encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return ECKey.import_key(json.loads(path.read_bytes()))
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return key


def client_assertion(key: ECKey, client_id: str, audience: str, now_s: int) -> str:
    """A client's proof of identity to its token endpoint (RFC 7523), good once and for a minute."""
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": now_s,
        "exp": now_s + 60,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}, claims, key, algorithms=[ALGORITHM])
