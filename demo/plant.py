"""The personal data and the secrets that the shop leaks into its logs and its configuration, by seed.

Everything is well-formed (check digits, checksums, real number ranges), because a filter that only meets malformed
values proves nothing. All values are invented; phone numbers are from the range that Ofcom reserves for drama, card
numbers from test ranges, mail domains from RFC 2606. Each value has at least 6 characters.
"""

import random
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

_FIRST = [
    "ada",
    "alan",
    "barbara",
    "donald",
    "edsger",
    "frances",
    "grace",
    "hedy",
    "jean",
    "john",
    "katherine",
    "ken",
    "margaret",
    "niklaus",
    "radia",
    "tony",
]
_LAST = [
    "allen",
    "backus",
    "berners",
    "dijkstra",
    "hamilton",
    "hoare",
    "hopper",
    "johnson",
    "kernighan",
    "knuth",
    "lamarr",
    "liskov",
    "perlman",
    "turing",
]
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Customer:
    """One invented person, with everything that careless code writes down about them."""

    email: str
    phone: str
    card: str
    iban: str


@dataclass(frozen=True, slots=True)
class Planted:
    """What one run plants."""

    customers: tuple[Customer, ...]
    database_password: str
    cloud_key: str
    cloud_secret: str
    forge_token: str

    def by_kind(self) -> Mapping[str, list[str]]:
        """``{kind: [values]}``, the content of ``planted.json``."""
        return {
            "email": [customer.email for customer in self.customers],
            "phone": [customer.phone for customer in self.customers],
            "card": [customer.card for customer in self.customers],
            "iban": [customer.iban for customer in self.customers],
            "database_password": [self.database_password],
            "cloud_key": [self.cloud_key],
            "cloud_secret": [self.cloud_secret],
            "forge_token": [self.forge_token],
        }


def plant(seed: int, customers: int = 24) -> Planted:
    """Invent the values of one run; equal seeds give equal values."""
    dice = random.Random(f"planted {seed}")  # noqa: S311 - invented test values, not secrets of anybody
    return Planted(
        customers=tuple(_customer(dice) for _ in range(customers)),
        database_password=_text(dice, string.ascii_letters + string.digits, 20),
        cloud_key="AKIA" + _text(dice, string.ascii_uppercase + "234567", 16),
        cloud_secret=_text(dice, string.ascii_letters + string.digits + "+/", 40),
        forge_token=_forge_token(dice),
    )


def _customer(dice: random.Random) -> Customer:
    return Customer(
        email=f"{dice.choice(_FIRST)}.{dice.choice(_LAST)}{dice.randrange(10, 1000)}@mail.example.org",
        phone=f"+44 20 7946 0{dice.randrange(1000):03d}",
        card=_card(dice),
        iban=_iban(dice),
    )


def _text(dice: random.Random, alphabet: str, length: int) -> str:
    return "".join(dice.choice(alphabet) for _ in range(length))


def _card(dice: random.Random) -> str:
    """16 digits of the Visa range with the check digit of ISO/IEC 7812 (Luhn)."""
    body = "4" + _text(dice, string.digits, 14)
    doubled = (int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(body))
    return body + str(-sum(digit // 10 + digit % 10 for digit in doubled) % 10)


def _iban(dice: random.Random) -> str:
    """A German IBAN with the check digits of ISO 13616 (mod 97)."""
    account = _text(dice, string.digits, 18)
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def _forge_token(dice: random.Random) -> str:
    """``ghp_``, 30 characters, and their CRC-32 in six base-62 digits, as the forge's secret scanning checks it."""
    body = _text(dice, _BASE62, 30)
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, place = divmod(rest, 62)
        digits = _BASE62[place] + digits
    return f"ghp_{body}{digits}"
