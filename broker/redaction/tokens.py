"""The token grammar, and the keys of one session that mint and check tokens.

=====================  ===========================================================================
``EMAIL_7K3Q9M2XTB4C``  pseudonym: entity, 10 Crockford base-32 characters of id (50 bits of
                        HMAC-SHA-256 over entity and canonical value), 2 of keyed check (10 bits)
``IP_B2_1F_09_77_4C``   prefix-preserving pseudonym of a public IPv4 address; ``IP6_`` and eight
                        groups for IPv6, ``MAC_`` and six octets (the first three, the OUI, in clear)
``[SECRET:type:fp8]``   destroyed; 8 hex digits of a keyed fingerprint: equal secrets look equal
``[UNSCANNED:reason]``  withheld because it could not be scanned
``[EMAIL]``             removed by the operator ``redact``
=====================  ===========================================================================

Only ``[A-Z0-9_]`` stands in a pseudonym, so it survives JSON, SQL, shells, URLs and labels. Text that looks like a
pseudonym but was not minted in this session is escaped on its way in (``EMAIL~7K3Q…``): it can never be restored.
"""

import hmac
import ipaddress
import re
from typing import Final

from broker.redaction.entities import DEFAULT_OPS

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_B32 = "[0-9A-HJKMNP-TV-Z]"
_NAMES = "|".join(sorted((name for name in DEFAULT_OPS if name not in {"SECRET", "IP", "MAC"}), key=len, reverse=True))
TOKEN: Final = re.compile(
    rf"(?:{_NAMES})_{_B32}{{12}}"
    rf"|IP6_(?:[0-9A-F]{{4}}_){{8}}{_B32}{{2}}|IP_(?:[0-9A-F]{{2}}_){{4}}{_B32}{{2}}|MAC_(?:[0-9A-F]{{2}}_){{6}}{_B32}{{2}}"
)
MARK: Final = re.compile(
    rf"\[SECRET:[a-z0-9-]{{1,24}}:[0-9a-f]{{8}}\]|\[UNSCANNED:[a-z]{{1,16}}\]|\[(?:{_NAMES}|IP|MAC)(?::[0-9a-f]{{16}})?\]"
)
_MAX_CACHE = 20_000


class SessionKeys:
    """The working keys of one session, derived from its data key; nothing here is ever written anywhere."""

    def __init__(self, data_key: bytes) -> None:
        """``data_key`` is 32 random bytes."""

        def derive(label: bytes) -> bytes:
            return hmac.digest(data_key, b"wicketgate/redaction/" + label, "sha256")

        self._id, self._check, self._mark, self._prefix = map(derive, (b"id", b"check", b"mark", b"prefix"))
        self.seal = derive(b"seal")
        self._cache: dict[tuple[str, str], str] = {}

    def token(self, entity: str, canonical: str) -> str:
        """The pseudonym of ``canonical``: the same in this session, unrelated in another."""
        known = self._cache.get((entity, canonical))
        if known is None:
            number = (
                int.from_bytes(
                    hmac.digest(self._id, f"{entity}\0{canonical}".encode("utf-8", "surrogatepass"), "sha256")[:7]
                )
                >> 6
            )
            body = f"{entity}_{_base32(number, 10)}"
            known = self._remember((entity, canonical), body + self._checksum(body))
        return known

    def address(self, text: str) -> str:
        """Prefix-preserving pseudonym of an IP address (Crypto-PAn's scheme with HMAC-SHA-256 as the bit source)."""
        known = self._cache.get(("IP", text))
        if known is None:
            parsed = ipaddress.ip_address(text)
            width, octets, name = (32, 1, "IP") if parsed.version == 4 else (128, 2, "IP6")
            raw = self._permute_prefixes(int(parsed), width, parsed.version).to_bytes(width // 8)
            body = f"{name}_" + "".join(raw[i : i + octets].hex().upper() + "_" for i in range(0, len(raw), octets))
            known = self._remember(("IP", text), body + self._checksum(body))
        return known

    def hardware(self, text: str) -> str:
        """Pseudonym of a MAC address that keeps the vendor's three octets."""
        octets = re.sub(r"[^0-9A-Fa-f]", "", text).upper()
        tail = hmac.digest(self._prefix, b"mac" + octets.encode(), "sha256")[:3].hex().upper()
        joined = octets[:6] + tail
        body = "MAC_" + "".join(joined[i : i + 2] + "_" for i in range(0, 12, 2))
        return body + self._checksum(body)

    def fingerprint(self, value: str, digits: int = 8) -> str:
        """Keyed fingerprint in hex: tells equal secrets of one session apart from others, reveals nothing."""
        return hmac.digest(self._mark, value.encode("utf-8", "surrogatepass"), "sha256").hex()[:digits]

    def genuine(self, token: str) -> bool:
        """Whether the keyed check of ``token`` holds: necessary, not sufficient, for having been minted here."""
        return hmac.compare_digest(self._checksum(token[:-2]), token[-2:])

    def _checksum(self, body: str) -> str:
        return _base32(int.from_bytes(hmac.digest(self._check, body.encode(), "sha256")[:2]) >> 6, 2)

    def _permute_prefixes(self, number: int, width: int, version: int) -> int:
        flipped = 0
        for bit in range(width):
            prefix = (number >> (width - bit)) | (1 << bit)
            digest = hmac.digest(self._prefix, b"%d/%d/%d" % (version, bit, prefix), "sha256")
            flipped = (flipped << 1) | (digest[0] & 1)
        return number ^ flipped

    def _remember(self, key: tuple[str, str], token: str) -> str:
        if len(self._cache) >= _MAX_CACHE:
            self._cache.clear()
        self._cache[key] = token
        return token


def _base32(number: int, length: int) -> str:
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))


def escaped(token: str) -> str:
    """A forged or foreign token made harmless: no longer a token, still readable, and stable when redacted again."""
    return token.replace("_", "~", 1)


def entity_of(token: str) -> str:
    """The entity that ``token`` stands for."""
    name = token.partition("_")[0]
    return "IP" if name == "IP6" else name
