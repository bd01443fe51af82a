"""What redaction looks for, what becomes of each by default, and profiles: policy's word on both.

A profile is data of the policy bundle (``config/redaction/data.yaml``)::

    default: {entities: {EMAIL: {op: pseudonym, keep: domain}, IP: {op: keep}}, max_unscanned: 0}

An entity that the profile leaves out keeps its default below. An operator or option nobody knows becomes the
strictest one, ``destroy``. ``SECRET`` is destroyed whatever a profile says: that floor is code, not policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from broker.errors import RedactionUnavailable

SECRET: Final = "SECRET"  # noqa: S105 - the name of an entity
UNSCANNED: Final = "UNSCANNED"

DEFAULT_OPS: Final[Mapping[str, str]] = {
    "SECRET": "destroy",
    "EMAIL": "pseudonym",
    "PHONE": "pseudonym",
    "PERSON": "pseudonym",
    "USERNAME": "pseudonym",
    "CARD": "pseudonym",
    "IBAN": "pseudonym",
    "SSN": "pseudonym",
    "TAXID": "pseudonym",
    "PASSPORT": "pseudonym",
    "ACCOUNT": "pseudonym",
    "ADDRESS": "pseudonym",
    "DOB": "generalise",
    "IP": "prefix",
    "MAC": "keep",
    "ENCODED": "pseudonym",
}
"""Entity -> operator. These names are the prefixes of pseudonyms, so they hold ``[A-Z0-9]`` only."""

KEEPS: Final[Mapping[str, frozenset[str]]] = {
    "EMAIL": frozenset({"domain"}),
    "CARD": frozenset({"last4"}),
    "PHONE": frozenset({"country"}),
}
"""Which part of an entity a profile may ask to keep in clear beside its pseudonym."""

OPERATORS: Final = frozenset({"destroy", "pseudonym", "redact", "mask", "hash", "generalise", "prefix", "keep"})


class Tier(IntEnum):
    """How sure a finding is; in an overlap the higher tier wins (``resolution.py``)."""

    PATTERN = 1
    VALIDATED = 2
    URL = 3
    KEY = 4


@dataclass(frozen=True, slots=True)
class Span:
    """One finding inside one text: ``text[start:end]``, offsets in characters.

    ``kind`` names the sort of secret (or the reason of UNSCANNED). ``surface`` is what the finding says once decoded,
    where that differs from the text itself (percent escapes, full-width digits).
    """

    entity: str
    start: int
    end: int
    rule: str
    tier: Tier
    score: float
    kind: str = ""
    surface: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Treatment:
    """One operator with the part it may leave in clear (``domain``, ``last4``, ``country`` or nothing)."""

    op: str
    keep: str = ""


DESTROY: Final = Treatment("destroy")


@dataclass(frozen=True, slots=True)
class Profile:
    """A named choice of treatments. ``max_unscanned``: withheld leaves tolerated per call; None means any number."""

    name: str
    entities: Mapping[str, Treatment]
    max_unscanned: int | None = None

    def of(self, entity: str) -> Treatment:
        """The treatment of ``entity``; the strictest for one that nobody declared."""
        if entity == SECRET:
            return DESTROY
        found = self.entities.get(entity)
        if found is not None:
            return found
        default = DEFAULT_OPS.get(entity)
        return Treatment(default) if default else DESTROY


STANDARD: Final = Profile("standard", {})
"""Every entity at its default."""


def profiles_from(declared: Mapping[str, Any]) -> dict[str, Profile]:
    """Profiles of policy data ``{name: {entities: {ENTITY: {op, keep?}}, max_unscanned?}}``.

    Raises ``RedactionUnavailable`` when the shape itself is wrong: a profile that cannot be read guarantees nothing.
    """
    profiles = {}
    for name, body in declared.items():
        entities = body.get("entities", {}) if isinstance(body, Mapping) else None
        limit = body.get("max_unscanned") if isinstance(body, Mapping) else None
        if not isinstance(entities, Mapping) or isinstance(limit, bool) or not isinstance(limit, int | None):
            raise RedactionUnavailable(
                f"redaction profile `{name}` is malformed",
                code="redaction.profile",
                remedy="mend config/redaction/data.yaml: entities is a map, max_unscanned a whole number",
            )
        profiles[name] = Profile(name, {key: _treatment(key, value) for key, value in entities.items()}, limit)
    return profiles


def _treatment(entity: str, declared: object) -> Treatment:
    """The declared treatment, or the strictest where entity, operator or option is unknown."""
    if entity not in DEFAULT_OPS or entity == SECRET or not isinstance(declared, Mapping):
        return DESTROY
    op, keep = declared.get("op"), declared.get("keep", "")
    if op not in OPERATORS or (op == "prefix") > (entity in {"IP", "MAC"}) or set(declared) - {"op", "keep"}:
        return DESTROY
    if keep and keep not in KEEPS.get(entity, frozenset()):
        return DESTROY
    return Treatment(op, keep)
