"""The desk where authenticators are registered, confirmed and removed, and where signatures are checked."""

import hashlib
import hmac
from collections.abc import Sequence

from broker.authenticators import ceremonies
from broker.authenticators.ceremonies import ALGORITHMS, Assertion, Signed, Site, bytes_to_base64url
from broker.clock import Clock, seconds
from broker.errors import Conflict, Denied, NotFound
from broker.model import Json, PartyKind, Principal
from broker.store import Connection, Store
from broker.store import authenticators as rows
from broker.store.authenticators import Authenticator

CEREMONY_SECONDS = 600
MOST_OF_ONE = 8
_MILLISECONDS = 120_000


class Authenticators:
    """For all replicas that share ``store`` and ``key``."""

    def __init__(self, store: Store, clock: Clock, *, key: bytes, url: str) -> None:
        """``key`` makes registrations' challenges; ``url`` is the gate's public address."""
        self.site = Site.of(url)
        self._store = store
        self._clock = clock
        self._key = key

    async def listed(self, tenant: str, party: str = "") -> tuple[Authenticator, ...]:
        """Those of a person, or of the tenant; removed ones among them."""
        return await self._store.read(lambda c: rows.listed(c, tenant, party))

    async def get(self, tenant: str, credential: str) -> Authenticator:
        """One; raises ``NotFound``."""
        found = await self._store.read(lambda c: rows.find(c, tenant, credential))
        if found is None:
            raise NotFound("there is no such authenticator", code="authenticator.not_found")
        return found

    # -- registration -----------------------------------------------------------------------------------------------

    def creation(self, person: Principal, known: Sequence[Authenticator]) -> dict[str, Json]:
        """``{until, publicKey}``: what ``navigator.credentials.create()`` is asked, and until when its answer counts."""
        until = seconds(self._clock) + CEREMONY_SECONDS
        own = [one for one in known if one.party == person.subject.id and not one.removed_at]
        handle = hmac.digest(self._key, f"handle\x00{person.tenant}\x00{person.subject.id}".encode(), "sha256")
        return {
            "until": until,
            "publicKey": {
                "rp": {"id": self.site.rp_id, "name": "Wicketgate"},
                "user": {
                    "id": bytes_to_base64url(handle),
                    "name": person.subject.id,
                    "displayName": person.subject.id,
                },
                "challenge": bytes_to_base64url(self._challenge(person, until)),
                "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in ALGORITHMS],
                "timeout": _MILLISECONDS,
                "excludeCredentials": [_descriptor(one) for one in own],
                "authenticatorSelection": {"userVerification": "required", "residentKey": "discouraged"},
                "attestation": "none",
            },
        }

    def proven(self, person: Principal, until: int, said: Json) -> Authenticator:
        """The authenticator that this answer of ``create()`` registers; nothing is stored yet.

        Raises ``Denied`` (``approval.not_a_person``, ``authenticator.expired``), ``BadRequest`` (``authenticator.site``
        where no browser asks for keys at this gate's address, and as ``ceremonies.register``).
        """
        now = seconds(self._clock)
        if (fault := self.site.fault) is not None:
            raise fault
        if person.subject.kind is not PartyKind.HUMAN or person.actor is not None:
            raise Denied("only a person, by their own sign-in, has authenticators", code="approval.not_a_person")
        if not now <= until <= now + CEREMONY_SECONDS:
            raise Denied(
                "this registration was begun too long ago",
                code="authenticator.expired",
                remedy="open the page again and register it there",
            )
        new = ceremonies.register(said, self.site, self._challenge(person, until))
        return Authenticator(
            tenant=person.tenant,
            id=new.credential,
            party=person.subject.id,
            public_key=new.public_key,
            sign_count=new.sign_count,
            aaguid=new.aaguid,
            transports=new.transports,
            created_at=now,
        )

    async def check_new(self, new: Authenticator) -> None:
        """Raise ``Conflict`` (``authenticator.known``, ``.too_many``) where it cannot be added."""
        await self._store.read(lambda c: _check_new(c, new))

    async def add(self, new: Authenticator) -> None:
        """Store it, waiting for a second person; raises as ``check_new``."""

        def insert(connection: Connection) -> None:
            _check_new(connection, new)
            if not rows.add(connection, new):
                raise _known()

        await self._store.write(insert)

    async def confirmable(self, person: Principal, credential: str) -> Authenticator:
        """One that ``person`` may put into force; raises ``NotFound``, ``Denied`` (``authenticator.own``), ``Conflict``."""
        found = await self.get(person.tenant, credential)
        if found.party == person.subject.id:
            raise Denied(
                "nobody confirms their own authenticator",
                code="authenticator.own",
                remedy="ask another person with the role security to confirm it",
            )
        if found.state != "waiting":
            raise _not_waiting(found)
        return found

    async def confirm(self, person: Principal, credential: str) -> None:
        """Put it into force; raises as ``confirmable``."""
        found = await self.confirmable(person, credential)
        now, by = seconds(self._clock), person.subject.id
        if not await self._store.write(lambda c: rows.confirm(c, found.tenant, found.id, by=by, now_s=now)):
            raise _not_waiting(found)

    async def remove(self, person: Principal, credential: str) -> Authenticator:
        """Take it away for good; raises ``NotFound``, ``Conflict`` (``authenticator.state``)."""
        found = await self.get(person.tenant, credential)
        now, by = seconds(self._clock), person.subject.id
        if not await self._store.write(lambda c: rows.remove(c, found.tenant, found.id, by=by, now_s=now)):
            raise _not_waiting(found)
        return found

    # -- signatures -------------------------------------------------------------------------------------------------

    async def request(self, person: Principal, challenge: bytes) -> dict[str, Json]:
        """What ``navigator.credentials.get()`` is asked: ``challenge``, signed by any of the person's authenticators."""
        own = [one for one in await self.listed(person.tenant, person.subject.id) if one.state == "ready"]
        return {
            "challenge": bytes_to_base64url(challenge),
            "rpId": self.site.rp_id,
            "allowCredentials": [_descriptor(one) for one in own],
            "userVerification": "required",
            "timeout": _MILLISECONDS,
        }

    async def check(self, person: Principal, challenge: bytes, approval: str, said: Json) -> Signed:
        """Check that ``person`` signed ``challenge``; it counts when ``Signed.redeem`` ran in the answer's transaction.

        Raises ``Denied`` (``signature.*``, see README.md), ``BadRequest`` (``signature.malformed``).
        """
        assertion = ceremonies.assertion_of(said)
        known, again = await self._store.glance(
            lambda c: (
                rows.find(c, person.tenant, assertion.credential),
                rows.used_before(c, person.tenant, assertion.signed),
            )
        )
        _in_force(known, person)
        assert known is not None
        if again:
            raise _replayed()
        count = ceremonies.prove(assertion, known, self.site, challenge)

        def redeem(connection: Connection) -> None:
            _redeem(connection, known, assertion, approval=approval, count=count, now_s=seconds(self._clock))

        return Signed(assertion.record, redeem)

    def _challenge(self, person: Principal, until: int) -> bytes:
        """Only this person's, and only until then."""
        bound = f"register\x00{person.tenant}\x00{person.subject.id}\x00{until}"
        return hmac.digest(self._key, bound.encode(), hashlib.sha256)


def _redeem(  # noqa: PLR0913 - one keyword a fact
    connection: Connection, known: Authenticator, said: Assertion, *, approval: str, count: int, now_s: int
) -> None:
    """Count a signature, once; the second of two at the same time is refused."""
    if not rows.count_up(connection, known.tenant, known.id, to=count, now_s=now_s):
        now = rows.find(connection, known.tenant, known.id)
        raise _removed() if now is None or now.removed_at else ceremonies.count_back()
    if not rows.use(connection, known, said.signed, approval=approval, now_s=now_s):
        raise _replayed()


def _in_force(known: Authenticator | None, person: Principal) -> None:
    """Raise unless it is this person's and may sign."""
    if known is None:
        raise Denied(
            "this authenticator is not registered here",
            code="signature.unknown",
            remedy="register it on the console's page of security keys, and have it confirmed",
        )
    if known.party != person.subject.id:
        raise Denied(
            "this authenticator is somebody else's", code="signature.other_person", remedy="sign with your own"
        )
    if known.state == "waiting":
        raise Denied(
            "nobody has confirmed this authenticator yet",
            code="signature.unconfirmed",
            remedy="ask another person with the role security to confirm it on the page of security keys",
        )
    if known.state == "removed":
        raise _removed()


def _check_new(connection: Connection, new: Authenticator) -> None:
    if rows.find(connection, new.tenant, new.id) is not None:
        raise _known()
    if sum(1 for one in rows.listed(connection, new.tenant, new.party) if not one.removed_at) >= MOST_OF_ONE:
        raise Conflict(
            f"one person has at most {MOST_OF_ONE} authenticators",
            code="authenticator.too_many",
            remedy="remove one that is not used any more",
        )


def _known() -> Conflict:
    return Conflict(
        "this authenticator was registered before",
        code="authenticator.known",
        remedy="use another one; one that was removed is never taken again",
    )


def _not_waiting(found: Authenticator) -> Conflict:
    return Conflict(
        f"this authenticator is {found.state} already",
        code="authenticator.state",
        remedy="look at the page of security keys again",
    )


def _removed() -> Denied:
    return Denied(
        "this authenticator was taken away", code="signature.removed", remedy="sign with another one of yours"
    )


def _replayed() -> Denied:
    return Denied(
        "this signature was used before", code="signature.replayed", remedy="open the approval again and sign anew"
    )


def _descriptor(one: Authenticator) -> dict[str, Json]:
    return {"type": "public-key", "id": one.id, "transports": list(one.transports)}
