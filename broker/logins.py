"""Who is signed in to the console: sessions of people in the database, the same for every replica.

The browser holds 256 random bits; the database holds their hash under the gate's key, who the person was at sign-in, and
when it ends: at the absolute limit, after the idle limit, or when somebody ended it (sign-out, the provider's back-channel
logout, a newer sign-in of the same browser). With another key nobody is signed in any more. Nothing of it is remembered in
the process, so an end counts everywhere at once. No token is stored.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from broker.clock import Clock, seconds
from broker.errors import Unauthenticated
from broker.model import Json, Party, PartyKind, Principal
from broker.store import Store
from broker.store import logins as rows
from broker.store.logins import Login

VALUE_BYTES = 32
TOUCH_SECONDS = 60
"""A use is written at most this often."""
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_REMEDY = "sign in again"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a sign-in lasts, in seconds: without use, and at most."""

    idle: int
    absolute: int


class Logins:
    """Opens, reads and ends sign-ins."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, key: bytes) -> None:
        """Shared by replicas through ``store``; ``key`` is the same on each of them."""
        self._store = store
        self._key = key
        self._clock = clock
        self._limits = limits

    async def open(self, principal: Principal, *, issuer: str, sid: str, instead_of: str = "") -> str:
        """Sign ``principal`` in; returns the cookie's value, known to nobody else.

        ``issuer`` is the profile's name, ``sid`` the provider's session; the sign-in behind the cookie value
        ``instead_of`` ends in the same step, so that no value outlives a change of who stands behind it.
        """
        value = base64.urlsafe_b64encode(secrets.token_bytes(VALUE_BYTES)).decode().rstrip("=")
        now = seconds(self._clock)
        new = Login(
            tenant=principal.tenant,
            id=self.id_of(value),
            issuer=issuer,
            subject=principal.subject.id,
            sid=sid,
            principal=_kept(principal),
            opened_at=now,
            used_at=now,
            expires_at=now + self._limits.absolute,
        )
        await self._store.write(lambda c: rows.open_(c, new, instead_of=self.id_of(instead_of) if instead_of else ""))
        return value

    async def principal(self, value: str, *, passive: bool = False) -> Principal:
        """Who stands behind a cookie value; raises ``Unauthenticated`` (``login.*``).

        ``passive``: a page that refreshes itself asks, which keeps nobody signed in.
        """
        found = await self.find(value)
        now = seconds(self._clock)
        if not passive and now - found.used_at >= TOUCH_SECONDS:
            await self._store.write(lambda c: rows.touch(c, found.id, now), durable=False)
        return _principal(found)

    async def find(self, value: str) -> Login:
        """The sign-in behind a cookie value, in force; raises as ``principal``."""
        if not _VALUE.match(value):
            raise Unauthenticated("nobody is signed in here", code="login.unknown", remedy=_REMEDY)
        key = self.id_of(value)
        found = await self._store.glance(lambda c: rows.find(c, key))
        if found is None:
            raise Unauthenticated("nobody is signed in here", code="login.unknown", remedy=_REMEDY)
        now = seconds(self._clock)
        if found.closed_at is None and now >= min(found.expires_at, found.used_at + self._limits.idle):
            # Who is told that it is over may rely on it: a clock that goes back does not bring it back.
            await self._store.write(lambda c: rows.close(c, key, now))
        if now >= found.expires_at:
            raise Unauthenticated("this sign-in has lasted its time", code="login.expired", remedy=_REMEDY)
        if now >= found.used_at + self._limits.idle:
            raise Unauthenticated("this sign-in was not used for too long", code="login.idle", remedy=_REMEDY)
        if found.closed_at is not None:
            raise Unauthenticated("this sign-in was ended", code="login.closed", remedy=_REMEDY)
        return found

    async def close(self, value: str) -> None:
        """Sign out."""
        key, now = self.id_of(value), seconds(self._clock)
        await self._store.write(lambda c: rows.close(c, key, now))

    async def close_all(self, issuer: str, *, subject: str = "", sid: str = "") -> int:
        """What the provider says has ended: its session ``sid``, or all of the person ``subject`` (a party id)."""
        now = seconds(self._clock)
        return await self._store.write(lambda c: rows.close_all(c, issuer, subject=subject, sid=sid, now_s=now))

    def id_of(self, value: str) -> str:
        """What the database knows of a cookie value: hex HMAC-SHA256 under the gate's key."""
        return hmac.new(self._key, b"login " + value.encode(), hashlib.sha256).hexdigest()

    def name_of(self, value: str) -> str:
        """What telemetry calls the sign-in behind a cookie value."""
        return f"ses_{self.id_of(value)[:26]}"


def _kept(principal: Principal) -> dict[str, Json]:
    """A person's own sign-in as JSON; nothing made from the token stays."""
    return {
        "roles": sorted(principal.subject.roles),
        "issuer": principal.issuer,
        "client": principal.client,
        "scopes": sorted(principal.scopes),
        "auth_time": principal.auth_time,
        "acr": principal.acr,
        "issued_at": principal.issued_at,
    }


def _principal(found: Login) -> Principal:
    kept: Mapping[str, Json] = found.principal
    return Principal(
        tenant=found.tenant,
        subject=Party(found.subject, PartyKind.HUMAN, frozenset(kept["roles"])),
        issuer=kept["issuer"],
        expires_at=found.expires_at,
        client=kept["client"],
        scopes=frozenset(kept["scopes"]),
        auth_time=kept["auth_time"],
        acr=kept["acr"],
        issued_at=kept["issued_at"],
        token_ref=found.id,
    )
