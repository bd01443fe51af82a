"""Client certificates: what a bound token is bound to, and who comes by a certificate alone (RFC 5280, RFC 8705).

Who shows one has proven to hold its key, to the gate's own TLS or to its configured proxy, before it comes here. A
token beside it counts alone, and the certificate only binds. Without one it stands for the sender of alerts that
configuration maps it to, in one tenant, with the role ``alerts`` and nothing else, whatever its own texts say. Its
chain, validity, use and revocation are checked at every request, so one that runs out on an open connection ends there.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import verification

from broker.errors import Unauthenticated
from broker.identity.crl import RevocationLists
from broker.model import Party, PartyKind, Principal

ISSUER = "mtls"
"""Stands where other parties' issuer does; no configured issuer has this name."""
ROLE = "alerts"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the client showed, as DER: its certificate, and those between it and an authority, as far as they are known."""

    der: bytes
    between: tuple[bytes, ...] = ()

    @property
    def thumbprint(self) -> str:
        """Base64url SHA-256, as in ``x5t#S256``."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.der).digest()).rstrip(b"=").decode()

    @property
    def digest(self) -> str:
        """SHA-256 in hex, as configuration and ``openssl x509 -fingerprint -sha256`` say it, without colons."""
        return hashlib.sha256(self.der).hexdigest()


@dataclass(frozen=True, slots=True)
class Sender:
    """A mapping: whoever shows the certificate with this digest, or with this name, is ``mtls:<name>`` of ``tenant``."""

    name: str
    tenant: str
    thumbprint: str = ""
    """SHA-256 in hex."""
    san: str = ""
    """``dns:…``, ``uri:…`` or ``email:…``: one of the certificate's alternative names, letter by letter."""
    authority: str = ""
    """SHA-256 in hex of a certificate that its chain must go through; empty for any authority."""


class Certificates:
    """Says who stands behind a certificate that comes without a token."""

    def __init__(self, authorities: bytes = b"", senders: Iterable[Sender] = (), crl_file: Path | None = None) -> None:
        """``authorities`` are PEM: who may issue; ``crl_file``: what they took back.

        Raises ValueError where either cannot be believed, or a sender's authority is not there; OSError for the file.
        """
        self._senders = tuple(senders)
        issuers = x509.load_pem_x509_certificates(authorities) if authorities else []
        for one in self._senders:
            if one.authority not in {"", *_digests(issuers)}:
                raise ValueError(f"identity.certificates `{one.name}`: gate.client_ca_file does not hold its authority")
        self._store = verification.Store(issuers) if issuers else None
        self._lists = RevocationLists(crl_file, issuers)

    def check_not_taken_back(self, shown: Certificate, now_s: int) -> None:
        """Of a certificate that only binds a token nothing else counts: whoever issued it, who it is, says the token."""
        if not self._lists.kept:
            return
        try:
            problem = self._lists.problem(
                [x509.load_der_x509_certificate(shown.der)], datetime.fromtimestamp(now_s, UTC)
            )
        except ValueError:
            raise _invalid("it cannot be read") from None
        if problem:
            raise _invalid(problem)

    def principal(self, shown: Certificate, now_s: int) -> Principal:
        """The sender that ``shown`` is mapped to; raises ``Unauthenticated``."""
        certificate, names, issuers = self._verified(shown, now_s)
        found = [
            one
            for one in self._senders
            if (one.thumbprint or one.san) in {shown.digest, *names} and one.authority in {"", *issuers}
        ]
        if len(found) != 1:
            raise Unauthenticated(
                "the client certificate is mapped to nobody" if not found else "the client certificate is mapped twice",
                code="identity.certificate_unmapped",
                remedy="send a token, or map this certificate to one party under [[identity.certificates]]",
            )
        sender = found[0]
        return Principal(
            tenant=sender.tenant,
            subject=Party(f"{ISSUER}:{sender.name}", PartyKind.WORKLOAD, frozenset({ROLE})),
            issuer=ISSUER,
            client=sender.name,
            expires_at=int(certificate.not_valid_after_utc.timestamp()),
            issued_at=int(certificate.not_valid_before_utc.timestamp()),
            token_ref=shown.digest,
            key=f"{ISSUER}:{shown.thumbprint}",
        )

    def _verified(self, shown: Certificate, now_s: int) -> tuple[x509.Certificate, set[str], set[str]]:
        """The certificate with its names and its issuers' digests, if an authority issued it for clients and it is valid at this moment."""
        if self._store is None:
            raise _invalid("there is no authority that it could be from")
        now = datetime.fromtimestamp(now_s, UTC)
        try:
            certificate, *between = (x509.load_der_x509_certificate(der) for der in (shown.der, *shown.between))
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise _invalid("its time has not begun, or is over")
            policy = verification.PolicyBuilder().store(self._store).time(now)
            policy = policy.extension_policies(ca_policy=_ISSUERS, ee_policy=_CLIENTS)
            chain = policy.build_client_verifier().verify(certificate, between).chain
            if problem := self._lists.problem(chain, now):
                raise _invalid(problem)
            _, *issuers = chain
            return certificate, _names(certificate), _digests(issuers)
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            raise _invalid("it cannot be read") from None
        except verification.VerificationError:
            raise _invalid("no authority of the gate issued it for clients") from None


def _digests(certificates: Iterable[x509.Certificate]) -> set[str]:
    """SHA-256 of each, in hex."""
    return {one.fingerprint(hashes.SHA256()).hex() for one in certificates}


def _names(certificate: x509.Certificate) -> set[str]:
    """Its alternative names, each with its kind."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    kinds = ((x509.DNSName, "dns"), (x509.UniformResourceIdentifier, "uri"), (x509.RFC822Name, "email"))
    return {f"{word}:{value}" for kind, word in kinds for value in listed.get_values_for_type(kind)}


def _signs(_: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """A client signs the handshake: a key that is for something else only does not count."""
    if usage is not None and not usage.digital_signature:
        raise ValueError("the key is not for signatures")


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the client certificate does not hold: {why}",
        code="identity.certificate",
        remedy="show a certificate that an authority of gate.client_ca_file issued for client authentication",
    )


_ISSUERS = verification.ExtensionPolicy.webpki_defaults_ca()
# As on the web, but that a certificate known by its thumbprint needs no alternative name, and small authorities
# (`openssl x509 -req`) write no key identifier.
_CLIENTS = (
    verification.ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)
    .may_be_present(x509.AuthorityKeyIdentifier, verification.Criticality.NON_CRITICAL, None)
    .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _signs)
)
