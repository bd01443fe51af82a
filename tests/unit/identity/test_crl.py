"""Revocation lists: what an authority took back counts no more, and a list that says nothing lets nobody in."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.clock import SeededClock, seconds
from broker.errors import BrokerError
from broker.identity import Certificate, Certificates, Credential, Sender, Verifier
from broker.identity.crl import BYTES_MAX, RevocationLists
from tests.sim.certificate import Authority, Issued
from tests.sim.issuer import Issuer

SENDERS = (Sender("am", "default", san="dns:localhost"),)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ops")


@pytest.fixture
def now(clock: SeededClock, authority: Authority) -> SeededClock:
    clock.advance(authority.now.timestamp() - seconds(clock))
    return clock


def verifier(clock: SeededClock, file: Path, authority: Authority, *more: Authority, bound: str = "none") -> Verifier:
    issuer = Issuer(clock)
    pem = b"".join(one.own.pem for one in (authority, *more))
    certificates = Certificates(pem, SENDERS, file)
    return Verifier([issuer.profile(sender_constraint=bound)], issuer.fetch, clock, certificates=certificates)


def outcome(it: Verifier, shown: Issued, authorization: str = "") -> str:
    """``believed``, or the code of the refusal."""
    try:
        asyncio.run(it.authenticate(Credential(authorization, certificate=Certificate(shown.der))))
    except BrokerError as refusal:
        return f"{refusal.error_code}: {refusal.detail}"
    return "believed"


def test_a_certificate_counts_until_its_authority_takes_it_back(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    good, stolen, file = authority.issue("a"), authority.issue("b"), tmp_path / "crl.pem"
    file.write_bytes(authority.list())
    it = verifier(now, file, authority)
    assert [outcome(it, one) for one in (good, stolen)] == ["believed", "believed"]
    file.write_bytes(authority.list(stolen))
    assert outcome(it, good) == "believed"
    assert outcome(it, stolen).endswith("its authority took it back"), "the file is read again without a restart"


def test_a_list_out_of_date_lets_nobody_of_its_authority_in(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    issued, file, other = (
        authority.issue("a", days=(-1, 30)),
        tmp_path / "crl.pem",
        Authority("other", now=authority.now),
    )
    file.write_bytes(authority.list())
    it = verifier(now, file, authority, other)
    now.advance(2 * 86_400)
    assert "out of date" in outcome(it, issued)
    assert outcome(it, other.issue("b", days=(-1, 30))) == "believed", "an authority without a list gives none"


def test_a_token_bound_to_a_certificate_that_was_taken_back_is_refused(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    shown, file = authority.issue("a"), tmp_path / "crl.pem"
    file.write_bytes(authority.list())
    it = verifier(now, file, authority, bound="mtls")
    issuer = Issuer(now)
    it._keys["corp"]._fetch = issuer.fetch
    token = issuer.token(issuer.agent_claims(cnf={"x5t#S256": Certificate(shown.der).thumbprint}))
    assert outcome(it, shown, f"Bearer {token}") == "believed"
    file.write_bytes(authority.list(shown))
    assert outcome(it, shown, f"Bearer {token}").startswith("identity.certificate:")


@pytest.mark.parametrize("write", [
    lambda authority: Authority("ops", now=authority.now).list(),
    lambda authority: authority.list(critical=True),
    lambda authority: b"",
    lambda authority: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    lambda authority: authority.list() + Authority("next", now=authority.now).list()[:-12],
    lambda authority: authority.list() + b"-----BEG",
    lambda authority: authority.list() + b"-",
    lambda authority: authority.list()[30:] + authority.list(),
    lambda authority: authority.list(authority.own) + authority.list(),
    lambda authority: b"# " + b"x" * BYTES_MAX + b"\n" + authority.list(),
], ids=["another key", "a part", "empty", "garbage", "cut off", "cut at once", "cut at its first letter", "without its head",
        "an older one after it", "too large"])  # fmt: skip
def test_a_file_that_cannot_be_believed_stops_the_start_and_then_everybody(
    now: SeededClock, authority: Authority, tmp_path: Path, write: Callable[[Authority], bytes]
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(write(authority))
    with pytest.raises(ValueError, match=r"."):
        verifier(now, file, authority)
    file.write_bytes(authority.list())
    it, issued = verifier(now, file, authority), authority.issue("a")
    assert outcome(it, issued) == "believed"
    file.write_bytes(write(authority))
    assert outcome(it, issued).startswith("identity.crl_unavailable")
    file.unlink()
    assert outcome(it, issued).startswith("identity.crl_unavailable")
    file.write_bytes(authority.list())
    assert outcome(it, issued) == "believed"


def test_a_list_that_is_gone_lets_nobody_in_that_was_on_it(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    other, file = Authority("other", now=authority.now), tmp_path / "crl.pem"
    good, stolen = authority.issue("a"), other.issue("b")
    file.write_bytes(authority.list() + other.list(stolen))
    it = verifier(now, file, authority, other)
    assert outcome(it, good) == "believed"
    assert outcome(it, stolen).endswith("its authority took it back")
    file.write_bytes(authority.list())
    assert outcome(it, stolen).startswith("identity.crl_unavailable"), "cut off between two lists, it looks whole"
    file.write_bytes(b"# whole again\n" + authority.list() + other.list(stolen))
    assert outcome(it, good) == "believed"


def test_an_authority_with_a_new_key_has_a_list_of_each(now: SeededClock, authority: Authority, tmp_path: Path) -> None:
    renewed, file = Authority("ops", now=authority.now), tmp_path / "crl.pem"
    stolen, also = authority.issue("a"), renewed.issue("b")
    file.write_bytes(authority.list(stolen) + renewed.list(also))
    it = verifier(now, file, authority, renewed)
    for one in (stolen, also):
        assert outcome(it, one).endswith("its authority took it back")
    assert outcome(it, renewed.issue("c")) == "believed"


def test_a_file_that_was_refused_is_not_read_again_until_it_changes(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(authority.list())
    lists = RevocationLists(file, [authority.own.certificate])
    file.write_bytes(authority.list() + b"-----BEGIN")
    for _ in range(2):
        with pytest.raises(BrokerError):
            lists.problem([], authority.now)
        # Nobody could tell the two files apart without reading: the time and the length are those of the refused one.
        stat = file.stat()
        file.write_bytes(authority.list().ljust(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert file.stat().st_size == stat.st_size
    file.write_bytes(authority.list() + b"\n\n\n")
    assert lists.problem([], authority.now) == ""


def test_one_in_between_that_was_taken_back_takes_all_below_it_along(
    now: SeededClock, authority: Authority, tmp_path: Path
) -> None:
    between, file = Authority("between", now=authority.now, below=authority), tmp_path / "crl.pem"
    issued = between.issue("a")
    file.write_bytes(authority.list())
    it = verifier(now, file, authority)
    shown = Credential(certificate=Certificate(issued.der, (between.own.der,)))
    assert asyncio.run(it.authenticate(shown)).subject.id == "mtls:am"
    file.write_bytes(authority.list(between.own))
    with pytest.raises(BrokerError) as refusal:
        asyncio.run(it.authenticate(shown))
    assert "took it back" in refusal.value.detail
