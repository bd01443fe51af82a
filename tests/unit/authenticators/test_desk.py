"""Authenticators are registered by their owner, put into force by somebody else, and sign one thing once."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.authenticators import CEREMONY_SECONDS, Authenticators
from broker.clock import SeededClock
from broker.errors import BrokerError
from broker.store import Store
from tests.sim.authenticator import PRESENT, VERIFIED, Kind, SoftwareKey, raw, text
from tests.stores import agent, fresh_tenant, human

SECRET = b"k" * 32
DECISION, OTHER = hashlib.sha256(b"one").digest(), hashlib.sha256(b"other").digest()


class Room:
    """One tenant's authenticators, in the words of a test."""

    def __init__(self, store: Store) -> None:
        self.clock, self.store = SeededClock(), store
        self.desk = Authenticators(store, self.clock, key=SECRET, url="http://localhost:8480")
        tenant = fresh_tenant()
        self.ann, self.bob = human("ann", "oncall", tenant=tenant), human("bob", "security", tenant=tenant)
        self.tenant = tenant

    def register(self, key: SoftwareKey, who: Any = None, **changes: Any) -> str:
        who = who or self.ann
        options = self.desk.creation(who, asyncio.run(self.desk.listed(self.tenant)))
        new = self.desk.proven(who, options["until"], key.create(options["publicKey"], **changes))
        asyncio.run(self.desk.add(new))
        return new.id

    def ready(self, key: SoftwareKey, who: Any = None) -> str:
        found = self.register(key, who)
        asyncio.run(self.desk.confirm(self.bob if who is not self.bob else self.ann, found))
        return found

    def sign(self, key: SoftwareKey, who: Any = None, challenge: bytes = DECISION, **changes: Any) -> dict[str, Any]:
        return key.get(asyncio.run(self.desk.request(who or self.ann, challenge)), **changes)

    def count(self, said: Any, who: Any = None, challenge: bytes = DECISION) -> None:
        """Check an assertion and let it count."""
        signed = asyncio.run(self.desk.check(who or self.ann, challenge, "apr_1", said))
        asyncio.run(self.store.write(signed.redeem))


@pytest.fixture
def room(store: Store) -> Room:
    return Room(store)


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(BrokerError) as error:
        call()
    assert error.value.error_code == code
    assert error.value.error_remedy


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
@pytest.mark.parametrize("counts", [True, False])
def test_a_registered_and_confirmed_key_signs_one_decision_after_the_other(
    room: Room, kind: Kind, *, counts: bool
) -> None:
    key = SoftwareKey(kind, counts=counts)
    credential = room.ready(key)
    room.count(room.sign(key))
    room.count(room.sign(key, challenge=OTHER), challenge=OTHER)
    found = asyncio.run(room.desk.get(room.tenant, credential))
    assert (found.sign_count, found.state, found.confirmed_by) == (2 if counts else 0, "ready", "dev:bob")
    assert found.transports == ("usb",)


def test_what_was_signed_for_another_decision_or_by_another_hand_is_refused(room: Room) -> None:
    own, bobs, stray = SoftwareKey(), SoftwareKey("EdDSA"), SoftwareKey()
    room.ready(own)
    room.ready(bobs, room.bob)
    refused("signature.other_decision", lambda: room.count(room.sign(own, challenge=OTHER)))
    refused("signature.other_person", lambda: room.count(room.sign(bobs)))
    refused("signature.unknown", lambda: room.count(room.sign(stray)))
    stray.credential = own.credential
    stray.count = own.count
    refused("signature.invalid", lambda: room.count(room.sign(stray)))


def test_a_signature_of_another_page_site_or_frame_or_without_its_user_is_refused(room: Room) -> None:
    key = SoftwareKey()
    room.ready(key)
    refused("signature.origin", lambda: room.count(room.sign(key, origin="http://localhost:9999")))
    refused("signature.origin", lambda: room.count(room.sign(key, origin="https://localhost:8480")))
    refused("signature.origin", lambda: room.count(room.sign(key, framed=True)))
    refused("signature.site", lambda: room.count(room.sign(key, rp_id="example.org")))
    refused("signature.not_verified", lambda: room.count(room.sign(key, flags=PRESENT)))
    refused("signature.not_verified", lambda: room.count(room.sign(key, flags=VERIFIED)))
    refused("signature.malformed", lambda: room.count(room.sign(key, type="webauthn.create")))
    room.count(room.sign(key))


@pytest.mark.parametrize("counts", [True, False])
def test_a_signature_counts_once(room: Room, *, counts: bool) -> None:
    key = SoftwareKey(counts=counts)
    room.ready(key)
    said = room.sign(key)
    room.count(said)
    refused("signature.replayed", lambda: room.count(said))
    flipped = {**said, "response": {**said["response"], "signature": room.sign(key)["response"]["signature"]}}
    refused("signature.replayed", lambda: room.count(flipped))


def test_of_two_that_bring_the_same_signature_at_once_one_counts(room: Room) -> None:
    key = SoftwareKey(counts=False)
    room.ready(key)
    said = room.sign(key)

    async def both() -> list[object]:
        signed = [await room.desk.check(room.ann, DECISION, "apr_1", said) for _ in range(2)]
        return list(await asyncio.gather(*(room.store.write(one.redeem) for one in signed), return_exceptions=True))

    done = asyncio.run(both())
    [lost] = [one for one in done if one is not None]
    assert isinstance(lost, BrokerError)
    assert lost.error_code == "signature.replayed"


def test_a_counter_that_does_not_rise_is_refused(room: Room) -> None:
    key = SoftwareKey()
    room.ready(key)
    room.count(room.sign(key, count=7))
    for back in (7, 3, 0):
        refused(
            "signature.count_back",
            lambda back=back: room.count(room.sign(key, challenge=OTHER, count=back), challenge=OTHER),
        )
    room.count(room.sign(key, challenge=OTHER, count=8), challenge=OTHER)


def test_a_counter_that_another_signature_raised_meanwhile_is_refused(room: Room) -> None:
    key = SoftwareKey()
    room.ready(key)
    slow, quick = room.sign(key, count=1), room.sign(key, challenge=OTHER, count=2)
    signed = asyncio.run(room.desk.check(room.ann, DECISION, "apr_1", slow))
    room.count(quick, challenge=OTHER)
    refused("signature.count_back", lambda: asyncio.run(room.store.write(signed.redeem)))


def test_a_key_counts_from_its_confirmation_by_somebody_else_until_it_is_removed(room: Room) -> None:
    key = SoftwareKey()
    credential = room.register(key)
    refused("signature.unconfirmed", lambda: room.count(room.sign(key)))
    refused("authenticator.own", lambda: asyncio.run(room.desk.confirm(room.ann, credential)))
    asyncio.run(room.desk.confirm(room.bob, credential))
    refused("authenticator.state", lambda: asyncio.run(room.desk.confirm(room.bob, credential)))
    said = room.sign(key)
    signed = asyncio.run(room.desk.check(room.ann, DECISION, "apr_1", said))
    asyncio.run(room.desk.remove(room.ann, credential))
    refused("signature.removed", lambda: asyncio.run(room.store.write(signed.redeem)))
    refused("signature.removed", lambda: room.count(room.sign(key)))
    refused("authenticator.state", lambda: asyncio.run(room.desk.remove(room.bob, credential)))
    refused("authenticator.known", lambda: room.register(key))
    refused("authenticator.known", lambda: room.register(key, room.bob))
    assert asyncio.run(room.desk.request(room.ann, DECISION))["allowCredentials"] == []


def test_a_registration_is_its_owners_own_fresh_and_with_its_user_verified(room: Room) -> None:
    key = SoftwareKey()
    options = room.desk.creation(room.ann, ())
    made = key.create(options["publicKey"])
    refused("authenticator.invalid", lambda: room.desk.proven(room.bob, options["until"], made))
    refused("authenticator.invalid", lambda: room.desk.proven(room.ann, options["until"] - 1, made))
    for lie in ({"flags": PRESENT}, {"origin": "http://evil.example"}, {"rp_id": "evil.example"}, {"framed": True}):
        refused("authenticator.invalid", lambda lie=lie: room.register(SoftwareKey(), **lie))
    behalf = agent("agent-1", room.tenant, behalf=room.ann)
    refused("approval.not_a_person", lambda: room.desk.proven(behalf, options["until"], made))
    room.clock.advance(CEREMONY_SECONDS + 1)
    refused("authenticator.expired", lambda: room.desk.proven(room.ann, options["until"], made))
    later = room.desk.creation(room.ann, ())["until"] + 1
    refused("authenticator.expired", lambda: room.desk.proven(room.ann, later, made))


def test_an_algorithm_that_an_auditor_could_not_check_is_not_registered(room: Room) -> None:
    key = SoftwareKey()
    made = key.create(room.desk.creation(room.ann, ())["publicKey"])
    # -7 (ES256) as -35 (ES384) in the COSE key.
    wrong = raw(made["response"]["attestationObject"]).replace(b"\x03\x26", b"\x03\x38\x22")
    made["response"]["attestationObject"] = text(wrong)
    refused(
        "authenticator.invalid", lambda: room.desk.proven(room.ann, room.desk.creation(room.ann, ())["until"], made)
    )


def test_nobody_hoards(room: Room) -> None:
    for _ in range(8):
        room.register(SoftwareKey())
    refused("authenticator.too_many", lambda: room.register(SoftwareKey()))
    room.register(SoftwareKey(), room.bob)


@pytest.mark.parametrize(
    "harm",
    [
        lambda said: None,
        lambda said: [],
        lambda said: {},
        lambda said: {**said, "id": text(b"other")},
        lambda said: {**said, "rawId": said["rawId"] + "="},
        lambda said: {**said, "rawId": "A" * 2000},
        lambda said: {**said, "type": "password"},
        lambda said: {**said, "response": "x"},
        lambda said: {**said, "response": {}},
        *(
            lambda said, name=name, value=value: {**said, "response": {**said["response"], name: value}}
            for name in ("clientDataJSON", "authenticatorData", "signature")
            for value in (None, 7, "", "!", "A", text(b"\x00"), text(b"{}"), "A" * 4000)
            if (name, value) not in {("signature", text(b"\x00")), ("signature", text(b"{}"))}
        ),
    ],
)
def test_what_is_no_assertion_is_refused_by_name(room: Room, harm: Callable[[Any], Any]) -> None:
    key = SoftwareKey()
    room.ready(key)
    refused("signature.malformed", lambda: room.count(harm(room.sign(key))))


def test_client_data_that_two_readers_would_read_differently_is_refused(room: Room) -> None:
    key = SoftwareKey()
    room.ready(key)
    said = room.sign(key, challenge=OTHER)
    forged = raw(said["response"]["clientDataJSON"])[:-1] + b',"challenge":"' + text(DECISION).encode() + b'"}'
    refused(
        "signature.malformed",
        lambda: room.count({**said, "response": {**said["response"], "clientDataJSON": text(forged)}}),
    )


def test_another_tenants_key_does_not_exist(store: Store, tmp_path: Path) -> None:
    here, there = Room(store), Room(store)
    key = SoftwareKey()
    credential = there.ready(key)
    refused("signature.unknown", lambda: here.count(here.sign(key)))
    refused("authenticator.not_found", lambda: asyncio.run(here.desk.get(here.tenant, credential)))
