"""Certificate revocation lists (RFC 5280 section 5): what an authority took back is believed no more.

One file, PEM, a list of each authority that gives one; read again when it changes. It counts whole or not at all: with
half a list, with two of one authority, or without one of an authority that had one, it is refused until it is changed
again, and nobody comes in. Whole lists alone: one with a critical extension (a delta, a part, an indirect list) says less
than it seems and is refused. A list whose time is over says nothing any more, so nobody of that authority is believed until
the next one is there.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from broker.errors import Unavailable

BYTES_MAX = 8_388_608
"""Some 150,000 certificates. A changed file is read by the request that finds it so, and others wait meanwhile."""
_PEM = re.compile(rb"-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----")


@dataclass(frozen=True, slots=True)
class _List:
    authority: x509.Certificate
    serials: frozenset[int]
    until: datetime


class RevocationLists:
    """The lists of one file. Without a file nobody is on a list."""

    def __init__(self, file: Path | None, authorities: Sequence[x509.Certificate]) -> None:
        """Reads the file; raises ValueError where it cannot be believed whole, OSError where it cannot be read."""
        self._file = file
        self._authorities = tuple(authorities)
        self._seen = (0, 0)
        self._wrong = ""
        """Why the file as it was seen last cannot be believed; empty where it can."""
        self._lists: tuple[_List, ...] = ()
        if file is not None:
            self._read(file)

    @property
    def kept(self) -> bool:
        """Whether there is anything to look in."""
        return self._file is not None

    def problem(self, certificates: Iterable[x509.Certificate], now: datetime) -> str:
        """Why one of these counts no more, or empty. Raises ``Unavailable`` where a changed file cannot be believed."""
        if self._file is None:
            return ""
        try:
            self._read(self._file)
        except (OSError, ValueError):
            raise Unavailable(
                "the revocation lists of client certificates cannot be read; nothing was done",
                code="identity.crl_unavailable",
                remedy="tell the operator to look at gate.client_crl_file",
            ) from None
        for one in certificates:
            # An authority that changed its key has two lists under one name.
            for found in (each for each in self._lists if each.authority.subject == one.issuer):
                if one.serial_number in found.serials:
                    return "its authority took it back"
                if now > found.until:
                    return "its authority's revocation list is out of date"
        return ""

    def _read(self, file: Path) -> None:
        """Read what changed; a file that was refused is refused again without a look into it."""
        stat = file.stat()
        seen = (stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            try:
                self._lists, self._wrong = self._whole(_bytes(file)), ""
            except ValueError as error:
                self._wrong = str(error) or "gate.client_crl_file cannot be read"
            self._seen = seen
        if self._wrong:
            raise ValueError(self._wrong)

    def _whole(self, pem: bytes) -> tuple[_List, ...]:
        beside = _PEM.sub(b"", pem).rstrip()
        if b"-----" in beside or beside.endswith(b"-"):
            raise ValueError("gate.client_crl_file holds a part of a list, or something else than lists")
        lists = tuple(map(self._believed, _PEM.findall(pem)))
        if not lists:
            raise ValueError("gate.client_crl_file holds no revocation list")
        authorities = {one.authority for one in lists}
        if len(authorities) < len(lists):
            raise ValueError("gate.client_crl_file holds two lists of one authority: leave the older one out")
        if {one.authority for one in self._lists} - authorities:
            raise ValueError("gate.client_crl_file holds no list any more of an authority that had one")
        return lists

    def _believed(self, pem: bytes) -> _List:
        crl = x509.load_pem_x509_crl(pem)
        signer = next((one for one in self._authorities if _signed(crl, one)), None)
        if signer is None:
            raise ValueError("gate.client_crl_file holds a list that no authority of gate.client_ca_file signed")
        if crl.next_update_utc is None or any(one.critical for one in crl.extensions):
            raise ValueError("gate.client_crl_file holds a list without an end, or one that is a part of another")
        return _List(signer, frozenset(one.serial_number for one in crl), crl.next_update_utc)


def _bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        pem = stream.read(BYTES_MAX + 1)
    if len(pem) > BYTES_MAX:
        raise ValueError(f"gate.client_crl_file is larger than {BYTES_MAX} bytes")
    return pem


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if crl.issuer != authority.subject:
        return False
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, TypeError, UnsupportedAlgorithm):
        return False
