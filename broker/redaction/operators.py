"""What becomes of a finding. Each operator is a Presidio operator, so users' own Presidio operators fit beside ours.

``register`` adds ours to an ``AnonymizerEngine``; ``splice`` is the same replacement in one pass (Presidio rebuilds
the string for each finding), held equal to the engine by a differential test.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.operators import Operator, OperatorType

from broker.redaction.entities import SECRET, Profile, Span, Treatment
from broker.redaction.rules.phone import country, e164
from broker.redaction.tokens import SessionKeys, escaped

Mint = Callable[[str, str], None]
"""``mint(token, surface)``: remember for the vault what a new pseudonym stands for."""


def canonical(entity: str, surface: str) -> str:
    """One form for one thing: domain in lower case, E.164, digits only, one blank between names."""
    match entity:
        case "EMAIL":
            local, _, domain = surface.rpartition("@")
            return f"{local}@{domain.lower()}"
        case "PHONE":
            return e164(surface)
        case "CARD" | "SSN":
            return re.sub(r"\D", "", surface)
        case "IBAN":
            return re.sub(r"[ -]", "", surface).upper()
        case "PERSON":
            return " ".join(surface.split()).casefold()
        case _:
            return surface


Params = dict[Any, Any]
_NONE: Final[Params] = {}


class _Ours(Operator):
    """Parameters: ``keys`` (SessionKeys), ``entity``, and what the operator itself names."""

    name = ""

    def operator_name(self) -> str:
        return self.name

    def operator_type(self) -> OperatorType:
        return OperatorType.Anonymize

    def validate(self, params: Params = _NONE) -> None:
        if not isinstance(params.get("keys"), SessionKeys):
            raise TypeError(f"operator {self.name} needs the session's keys")


class Destroy(_Ours):
    """``[SECRET:kind:fp8]``: the value is gone, only equality within the session remains."""

    name = "destroy"

    def operate(self, text: str, params: Params = _NONE) -> str:
        """Mark of ``text``."""
        return f"[SECRET:{params.get('kind') or params['entity'].lower()}:{params['keys'].fingerprint(text)}]"


class Withhold(_Ours):
    """``[UNSCANNED:reason]``."""

    name = "withhold"

    def operate(self, text: str, params: Params = _NONE) -> str:  # noqa: ARG002 - Presidio's signature
        """Mark with the reason."""
        return f"[UNSCANNED:{params['kind']}]"


class Escape(_Ours):
    """A text of token form that this session did not mint: made unlike a token."""

    name = "escape"

    def operate(self, text: str, params: Params = _NONE) -> str:  # noqa: ARG002 - Presidio's signature
        """``text`` unlike a token."""
        return escaped(text)


class Pseudonym(_Ours):
    """The session's token for the canonical value, with the part that the profile keeps."""

    name = "pseudonym"

    def operate(self, text: str, params: Params = _NONE) -> str:
        """Token of ``text``, remembered for the vault."""
        entity, keep = params["entity"], params.get("keep", "")
        token: str = params["keys"].token(entity, canonical(entity, text))
        params["mint"](token, text)
        if keep == "domain":
            return token + "@" + text.rpartition("@")[2].lower()
        if keep == "last4":
            return token + "_" + re.sub(r"\D", "", text)[-4:]
        if keep == "country":
            return token + country(text)
        return token


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Prefix(_Ours):
    """Prefix-preserving for IP addresses (equal networks stay visibly equal), vendor-preserving for MAC addresses."""

    name = "prefix"

    def operate(self, text: str, params: Params = _NONE) -> str:
        """Token of the address ``text``; a mark for a part of one."""
        keys: SessionKeys = params["keys"]
        whole = _is_address(text) if params["entity"] == "IP" else len(re.sub(r"[^0-9A-Fa-f]", "", text)) == 12
        if not whole:  # what another finding left of one
            return f"[{params['entity']}]"
        token = keys.address(text) if params["entity"] == "IP" else keys.hardware(text)
        params["mint"](token, text)
        return token


class Remove(_Ours):
    """``[EMAIL]``: gone without a trace of which."""

    name = "redact"

    def operate(self, text: str, params: Params = _NONE) -> str:  # noqa: ARG002 - Presidio's signature
        """Mark of the entity."""
        return f"[{params['entity']}]"


class Digest(_Ours):
    """``[EMAIL:16 hex]``: keyed, not reversible."""

    name = "hash"

    def operate(self, text: str, params: Params = _NONE) -> str:
        """Mark with the keyed digest."""
        entity = params["entity"]
        return f"[{entity}:{params['keys'].fingerprint(canonical(entity, text), 16)}]"


class Generalise(_Ours):
    """A date becomes its year; what has no year is removed."""

    name = "generalise"

    def operate(self, text: str, params: Params = _NONE) -> str:
        """Year in ``text``, or the mark."""
        year = re.search(r"(?<!\d)(?:19|20)\d\d(?!\d)", text)
        return year.group() if year and params["entity"] == "DOB" else f"[{params['entity']}]"


class Star(_Ours):
    """Letters and digits become ``*``."""

    name = "mask"

    def operate(self, text: str, params: Params = _NONE) -> str:  # noqa: ARG002 - Presidio's signature
        """``text`` in stars."""
        return re.sub(r"\w", "*", text)


OURS: Final[tuple[type[_Ours], ...]] = (Destroy, Withhold, Escape, Pseudonym, Prefix, Remove, Digest, Generalise, Star)
_BY_NAME: Final = {operator.name: operator() for operator in OURS}
_FIXED: Final = {SECRET: Treatment("destroy"), "UNSCANNED": Treatment("withhold"), "FORGED": Treatment("escape")}


def register(engine: AnonymizerEngine) -> AnonymizerEngine:
    """Add our operators to a Presidio engine (``hash``, ``mask`` and ``redact`` replace Presidio's)."""
    for operator in OURS:
        engine.add_anonymizer(operator)
    return engine


def treatment(profile: Profile, entity: str) -> Treatment:
    """The treatment of a finding: fixed for secrets, withheld and forged text, else the profile's."""
    return _FIXED.get(entity) or profile.of(entity)


def operate(text: str, span: Span, chosen: Treatment, keys: SessionKeys, mint: Mint) -> str:
    """The replacement of one finding."""
    params = {"keys": keys, "entity": span.entity, "kind": span.kind, "keep": chosen.keep, "mint": mint}
    surface = span.surface if span.surface is not None else text[span.start : span.end]
    return str(_BY_NAME[chosen.op].operate(surface, params))


def splice(text: str, parts: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with each disjoint, ascending ``(start, end, replacement)`` put in."""
    pieces: list[str] = []
    at = 0
    for start, end, replacement in parts:
        pieces += (text[at:start], replacement)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)
