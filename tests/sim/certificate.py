"""Real certificates: a server's that is its own authority, and an authority that issues what a test asks for."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CLIENT, SERVER = x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH
NAMES = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def save(self, path: Path, *more: "Issued") -> Path:
        """Key and certificate in one file, then ``more`` certificates."""
        plain = serialization.NoEncryption()
        key = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        path.write_bytes(b"".join((key, self.pem, *(one.pem for one in more))))
        return path


class Authority:
    """Issues certificates; ``below`` makes it one that another authority issued."""

    def __init__(self, name: str, *, now: dt.datetime | None = None, below: "Authority | None" = None) -> None:
        self.now = now or dt.datetime.now(dt.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(*(word in {"certificates", "lists"} for word in _USES))
        made = self._builder(name, key, days=(-1, 365)).add_extension(x509.BasicConstraints(True, None), True)
        made = made.add_extension(usage, True).add_extension(_identifier(key), False)
        self.own = Issued(below.sign(made) if below else made.issuer_name(_name(name)).sign(key, hashes.SHA256()), key)

    def issue(
        self,
        name: str,
        *,
        names: Sequence[x509.GeneralName] = NAMES,
        use: x509.ObjectIdentifier | None = CLIENT,
        days: tuple[float, float] = (-1, 1),
        signs: bool = True,
        identified: bool = True,
    ) -> Issued:
        """A certificate valid for ``days`` around now; ``signs`` is its key usage."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(name, key, days)
        made = made.add_extension(x509.KeyUsage(*(word == ("signatures" if signs else "keys") for word in _USES)), True)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), False)
        if use:
            made = made.add_extension(x509.ExtendedKeyUsage([use]), False)
        return Issued(self.sign(made, identified=identified), key)

    def sign(self, made: x509.CertificateBuilder, *, identified: bool = True) -> x509.Certificate:
        """Issue what was drafted; ``identified`` names the authority's key in it."""
        if identified:
            ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.own.key.public_key())
            made = made.add_extension(ours, False)
        return made.issuer_name(self.own.certificate.subject).sign(self.own.key, hashes.SHA256())

    def list(self, *taken: Issued, days: tuple[float, float] = (-1, 1), critical: bool = False) -> bytes:
        """A revocation list (PEM) that names ``taken``; ``critical`` makes it a part of another."""
        made = x509.CertificateRevocationListBuilder().issuer_name(self.own.certificate.subject)
        made = made.last_update(self.now + dt.timedelta(days=days[0])).next_update(
            self.now + dt.timedelta(days=days[1])
        )
        for one in taken:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            made = made.add_revoked_certificate(entry.revocation_date(self.now).build())
        if critical:
            made = made.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        return made.sign(self.own.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, name: str, key: ec.EllipticCurvePrivateKey, days: tuple[float, float]
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + dt.timedelta(days=days[0]))
            .not_valid_after(self.now + dt.timedelta(days=days[1]))
        )


_USES = ("signatures", "commitment", "keys", "content", "agreement", "certificates", "lists", "enciphers", "deciphers")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def self_signed(folder: Path) -> Path:
    """A file with the key and the certificate of a server at 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("sim")
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key).save(folder / "server.pem")
