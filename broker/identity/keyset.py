"""One issuer's keys, fetched through the gate's egress and kept as joserfc objects.

Times, in seconds: younger than ``ttl`` the keys are simply used. Between one and two ``ttl`` they are used while a
refresh runs beside. Older, a request waits for the refresh, and still uses the old keys if the issuer does not answer.
At ``stale_max`` nothing is believed any more: ``Unavailable``, because then a withdrawn key can no longer be told from
a good one. A ``kid`` that is not there asks the issuer again, at most every ``retry`` seconds whoever asks.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.clock import Clock
from broker.errors import BrokerError, Unauthenticated, Unavailable
from broker.identity.jose import Key
from broker.identity.keys import JWKS_BYTES_MAX, import_jwks
from broker.identity.profiles import IssuerProfile
from broker.strictjson import read_object

Fetch = Callable[[str], Awaitable[bytes]]
"""GET a URL through egress. Raises BrokerError, OSError or TimeoutError when there is no answer of status 200."""


@dataclass(frozen=True, slots=True)
class KeySetTimes:
    """Limits of a key set, in seconds."""

    ttl: int = 600
    retry: int = 30
    stale_max: int = 86_400
    fetch_max: float = 5.0


class IssuerKeys:
    """The key set of one profile. ``generation`` rises whenever the set changed, so that cached answers die with it."""

    def __init__(self, profile: IssuerProfile, fetch: Fetch, clock: Clock, times: KeySetTimes | None = None) -> None:
        self._profile = profile
        self._fetch = fetch
        self._clock = clock
        self._times = times or KeySetTimes()
        self._keys: Mapping[str, Key] = {}
        self._digest = b""
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._tried_ok = False
        self._running: asyncio.Task[None] | None = None
        self.generation = 0

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked at this moment without asking anybody."""
        return self._age() < self._times.stale_max

    @property
    def age(self) -> int:
        """Whole seconds since the last fetch; -1 before the first."""
        return -1 if self._fetched_at is None else int(self._clock.monotonic() - self._fetched_at)

    @property
    def age_max(self) -> int:
        """Age in seconds at which the keys are believed no more."""
        return self._times.stale_max

    @property
    def usable_until(self) -> float:
        """Monotonic second at which the present keys must not be believed any more."""
        return (self._fetched_at or 0.0) + self._times.stale_max if self._fetched_at is not None else 0.0

    async def key(self, kid: str) -> Key:
        """The key named ``kid``.

        Raises ``Unauthenticated`` (``identity.unknown_key``) when the issuer does not publish it, ``Unavailable``
        (``identity.keys_unavailable``) when the issuer's keys cannot be had or are too old to believe.
        """
        age = self._age()
        if age >= 2 * self._times.ttl:
            await self._refresh()
        elif age >= self._times.ttl:
            self._start()
        if self._age() >= self._times.stale_max:
            raise self._unavailable()
        found = self._keys.get(kid)
        if found is None:
            await self._refresh()
            found = self._keys.get(kid)
        if found is not None:
            return found
        if not self._tried_ok:
            raise self._unavailable()
        raise Unauthenticated(
            "the token names a key that its issuer does not publish",
            code="identity.unknown_key",
            remedy="get a fresh token from the configured identity provider",
        )

    async def refresh(self) -> None:
        """Fetch now if the last attempt is old enough: for start-up, readiness and the background refresh."""
        await self._refresh()

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock.monotonic() - self._fetched_at

    def _start(self) -> asyncio.Task[None] | None:
        """Begin a refresh, or join the one that runs; None while the pause after the last attempt lasts."""
        if self._running is not None and not self._running.done():
            return self._running
        now = self._clock.monotonic()
        if self._tried_at is not None and now - self._tried_at < self._times.retry:
            return None
        self._tried_at = now
        self._running = asyncio.get_running_loop().create_task(self._load())
        return self._running

    async def _refresh(self) -> None:
        task = self._start()
        if task is not None:
            # Shielded: one caller that goes away must not take the refresh from the others.
            await asyncio.shield(task)

    async def _load(self) -> None:
        self._tried_ok = False
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._times.fetch_max):
                document = await self._document()
            keys = import_jwks(document, self._profile.algorithms, self._profile.key_use)
        except (BrokerError, OSError, TimeoutError):
            return
        digest = hashlib.sha256(document).digest()
        if digest != self._digest:
            self._keys, self._digest = keys, digest
            self.generation += 1
        self._fetched_at, self._tried_ok = started, True

    async def _document(self) -> bytes:
        if self._profile.jwks_file:
            return await asyncio.to_thread(Path(self._profile.jwks_file).read_bytes)
        return await self._get(self._profile.jwks_uri or await self._discover())

    async def _discover(self) -> str:
        """The issuer's ``jwks_uri`` (OpenID Connect Discovery 1.0 section 4): its document must name it exactly."""
        document = await self._get(self._profile.issuer.rstrip("/") + "/.well-known/openid-configuration")
        metadata = read_object(document, bytes_max=JWKS_BYTES_MAX, floats=True)
        uri = metadata.get("jwks_uri")
        if metadata.get("issuer") != self._profile.issuer or not isinstance(uri, str):
            raise self._unavailable()
        return uri

    async def _get(self, url: str) -> bytes:
        if not self._profile.may_fetch(url):
            raise self._unavailable()
        return await self._fetch(url)

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            f"the keys of issuer `{self._profile.name}` cannot be fetched; nothing was done",
            code="identity.keys_unavailable",
            remedy="try again after Retry-After; tell the operator to check the issuer's discovery, jwks_uri and allow_networks",
            retry_after=self._times.retry,
        )
