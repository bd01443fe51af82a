"""Certificates without a token: who they stand for, and everything that makes them worth nothing."""

import asyncio
from collections.abc import Callable

import pytest
from cryptography import x509

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Certificate, Certificates, Credential, Sender, Verifier
from broker.model import Party, PartyKind
from tests.sim.certificate import NAMES, SERVER, Authority, Issued
from tests.sim.issuer import Issuer

HOUR = 3600
MAPPED = (x509.DNSName("am.example"),)
SENDERS = (
    Sender("alertmanager", "acme", san="dns:am.example"),
    Sender("robot", "default", san="uri:spiffe://corp/robot"),
    Sender("post", "default", san="email:am@example.org"),
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ops")


@pytest.fixture
def now(clock: SeededClock, authority: Authority) -> SeededClock:
    """A clock that stands where the authority's certificates are valid."""
    clock.advance(authority.now.timestamp() - seconds(clock))
    return clock


def verifier(clock: SeededClock, authority: Authority, *senders: Sender) -> Verifier:
    issuer = Issuer(clock)
    return Verifier(
        [issuer.profile()],
        issuer.fetch,
        clock,
        certificates=Certificates(authority.own.pem, senders or SENDERS),
    )


def code(it: Verifier, shown: Certificate) -> str:
    """Why it is refused, before a request is read and after."""
    codes = set()
    for ask in (it.authenticate, it.recognise):
        with pytest.raises(Unauthenticated) as refusal:
            asyncio.run(ask(Credential(certificate=shown)))
        codes.add(refusal.value.error_code)
    assert len(codes) == 1
    return codes.pop()


@pytest.mark.parametrize(
    ("name", "party", "tenant"),
    [
        (x509.DNSName("am.example"), "mtls:alertmanager", "acme"),
        (x509.UniformResourceIdentifier("spiffe://corp/robot"), "mtls:robot", "default"),
        (x509.RFC822Name("am@example.org"), "mtls:post", "default"),
    ],
)
def test_a_certificate_stands_for_the_sender_that_it_is_mapped_to_and_for_nothing_more(
    now: SeededClock, authority: Authority, name: x509.GeneralName, party: str, tenant: str
) -> None:
    issued = authority.issue("security", names=[*NAMES, name])
    it = verifier(now, authority)
    who = asyncio.run(it.authenticate(Credential(certificate=Certificate(issued.der))))
    assert who.parties == (Party(party, PartyKind.WORKLOAD, frozenset({"alerts"})),)
    assert (who.tenant, who.scopes, who.expires_at) == (
        tenant,
        frozenset(),
        int(issued.certificate.not_valid_after_utc.timestamp()),
    )
    assert who == asyncio.run(it.recognise(Credential(certificate=Certificate(issued.der))))


def test_a_thumbprint_names_one_certificate_that_needs_no_names(now: SeededClock, authority: Authority) -> None:
    one, other = (authority.issue("am", names=(), identified=False) for _ in range(2))
    it = verifier(now, authority, Sender("am", "default", thumbprint=Certificate(one.der).digest))
    assert asyncio.run(it.authenticate(Credential(certificate=Certificate(one.der)))).subject.id == "mtls:am"
    assert code(it, Certificate(other.der)) == "identity.certificate_unmapped"


Make = Callable[[Authority], Issued]
REFUSED: dict[str, tuple[str, Make]] = {
    "another authority of the same name": (
        "identity.certificate",
        lambda ours: Authority("ops", now=ours.now).issue("am", names=MAPPED),
    ),
    "over": ("identity.certificate", lambda ours: ours.issue("am", names=MAPPED, days=(-2, -0.01))),
    "not begun": ("identity.certificate", lambda ours: ours.issue("am", names=MAPPED, days=(0.01, 1))),
    "for servers": ("identity.certificate", lambda ours: ours.issue("am", names=MAPPED, use=SERVER)),
    "not for signatures": ("identity.certificate", lambda ours: ours.issue("am", names=MAPPED, signs=False)),
    "the authority itself": ("identity.certificate", lambda ours: ours.own),
    "of an unknown authority between": (
        "identity.certificate",
        lambda ours: Authority("below", now=ours.now, below=ours).issue("am", names=MAPPED),
    ),
    "mapped to nobody": ("identity.certificate_unmapped", lambda ours: ours.issue("am.example", names=NAMES)),
    "a wildcard": (
        "identity.certificate_unmapped",
        lambda ours: ours.issue("am", names=[x509.DNSName("*.example")]),
    ),
    "the name as another kind": (
        "identity.certificate_unmapped",
        lambda ours: ours.issue("am", names=[x509.UniformResourceIdentifier("am.example")]),
    ),
    "of two senders": (
        "identity.certificate_unmapped",
        lambda ours: ours.issue("am", names=[*MAPPED, x509.RFC822Name("am@example.org")]),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_certificate_that_does_not_hold_or_is_mapped_to_nobody_is_refused(
    now: SeededClock, authority: Authority, case: str
) -> None:
    expected, make = REFUSED[case]
    assert code(verifier(now, authority), Certificate(make(authority).der)) == expected


def test_what_is_no_certificate_is_refused(now: SeededClock, authority: Authority) -> None:
    whole = authority.issue("am", names=MAPPED).der
    for der in (b"", b"junk", whole[:-1], whole + b"\x00"):
        assert code(verifier(now, authority), Certificate(der)) == "identity.certificate"
    assert code(verifier(now, authority), Certificate(whole, (b"junk",))) == "identity.certificate"


def test_certificates_between_may_come_along(now: SeededClock, authority: Authority) -> None:
    below = Authority("below", now=authority.now, below=authority)
    shown = Certificate(below.issue("am", names=MAPPED).der, (below.own.der,))
    assert asyncio.run(verifier(now, authority).authenticate(Credential(certificate=shown))).tenant == "acme"


def test_a_name_counts_from_the_authority_that_its_mapping_says_and_from_no_other(
    now: SeededClock, authority: Authority
) -> None:
    theirs = Authority("theirs", now=authority.now)
    below = Authority("below", now=authority.now, below=theirs)
    ours, other, between = (Certificate(one.own.der).digest for one in (authority, theirs, below))
    issuer, files = Issuer(now), authority.own.pem + theirs.own.pem

    def believing(file: bytes, *senders: Sender) -> Verifier:
        return Verifier([issuer.profile()], issuer.fetch, now, certificates=Certificates(file, senders))

    def tenant(it: Verifier, *shown: Issued) -> str:
        first, *rest = (one.der for one in shown)
        return asyncio.run(it.authenticate(Credential(certificate=Certificate(first, tuple(rest))))).tenant

    acme, beta = Sender("am", "acme", san="dns:am.example", authority=ours), Sender("b", "beta", san="dns:b.example")
    foreign = theirs.issue("am", names=MAPPED)
    assert tenant(believing(files, acme, beta), authority.issue("am", names=MAPPED)) == "acme"
    assert code(believing(files, acme, beta), Certificate(foreign.der)) == "identity.certificate_unmapped"
    both = believing(files, acme, Sender("am2", "beta", san="dns:am.example", authority=other))
    assert (tenant(both, authority.issue("am", names=MAPPED)), tenant(both, foreign)) == ("acme", "beta")
    assert tenant(both, below.issue("am", names=MAPPED), below.own) == "beta"
    nearest = Sender("am", "beta", san="dns:am.example", authority=between)
    assert tenant(believing(files + below.own.pem, nearest), below.issue("am", names=MAPPED)) == "beta"
    assert code(believing(files + below.own.pem, nearest), Certificate(foreign.der)) == "identity.certificate_unmapped"
    with pytest.raises(ValueError, match="does not hold its authority"):
        Certificates(authority.own.pem, [nearest])


def test_a_certificate_runs_out_at_its_second(now: SeededClock, authority: Authority) -> None:
    it, shown = verifier(now, authority), Certificate(authority.issue("am", names=MAPPED, days=(-1, 1)).der)
    now.advance(24 * HOUR - 1)
    asyncio.run(it.authenticate(Credential(certificate=shown)))
    now.advance(2)
    assert code(it, shown) == "identity.certificate"


def test_without_a_mapping_or_an_authority_no_certificate_counts(now: SeededClock, authority: Authority) -> None:
    issuer, shown = Issuer(now), Certificate(authority.issue("am", names=MAPPED).der)
    assert code(Verifier([issuer.profile()], issuer.fetch, now), shown) == "identity.certificate"
    known = Certificates(authority.own.pem)
    assert code(Verifier([issuer.profile()], issuer.fetch, now, certificates=known), shown) == (
        "identity.certificate_unmapped"
    )


def test_beside_a_token_a_certificate_gives_nothing(now: SeededClock, authority: Authority) -> None:
    issuer = Issuer(now)
    it = Verifier([issuer.profile()], issuer.fetch, now, certificates=Certificates(authority.own.pem, SENDERS))
    shown = Certificate(authority.issue("am", names=MAPPED).der)
    token = issuer.token(issuer.agent_claims())
    who = asyncio.run(it.authenticate(Credential(f"Bearer {token}", certificate=shown)))
    assert (who.subject.id, who.tenant, who.subject.roles) == ("corp:agent-1", "default", frozenset({"agent"}))
    with pytest.raises(Unauthenticated) as refusal:
        asyncio.run(it.authenticate(Credential("Bearer x.y.z", certificate=shown)))
    assert refusal.value.error_code == "identity.malformed"


def test_no_issuer_takes_the_name_that_stands_for_certificates(clock: SeededClock) -> None:
    with pytest.raises(ValueError, match="mtls"):
        Issuer(clock).profile(name="mtls")
