"""What an agent submits, read strictly: claims, the cause, what it ruled out.

The schema is closed. Raises ``BadRequest`` (``claim.schema``) that names the field, never its value: a claim that
brings its own verdict or confidence is refused, not ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.errors import BadRequest
from broker.evidence.quantities import number_of
from broker.model import Json

OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "contains", "not_contains", "matches", "exists", "absent")
ROLES = ("cause", "symptom", "prediction", "context")
SUPPORTING = ("cause", "symptom", "prediction")
"""Roles that count towards a diagnosis."""
CLAIMS_MAX = 64
RULED_OUT_MAX = 16
TOLERANCE_MAX = Decimal("0.2")
_TEXT_MAX = 2000
_CLAIM_TEXTS = ("observation", "selector", "op", "text", "role", "component", "at", "tolerance")
_WITHOUT_VALUE = ("exists", "absent")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as submitted; ``value`` is a JSON scalar, ``tolerance`` relative."""

    observation: str
    selector: str
    op: str
    value: Json = None
    tolerance: Decimal | None = None
    text: str = ""
    role: str = "cause"
    component: str = ""
    at: str = ""
    as_sent: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """What the agent holds to be the cause."""

    component: str
    fault: str
    summary: str = ""

    def as_json(self) -> dict[str, Json]:
        """As submitted."""
        return {"component": self.component, "fault": self.fault, "summary": self.summary}


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A rival, and the places of the claims that speak against it."""

    component: str
    fault: str
    claims: tuple[int, ...]
    why: str = ""

    def as_json(self) -> dict[str, Json]:
        """As submitted."""
        return {"component": self.component, "fault": self.fault, "claims": list(self.claims), "why": self.why}


def read_claims(sent: Any) -> tuple[Claim, ...]:
    """Every claim of a submission, in its order."""
    return tuple(_claim(one, place) for place, one in enumerate(_list(sent, "claims", CLAIMS_MAX)))


def read_cause(sent: Any) -> Cause:
    """The cause; component and fault may not be empty."""
    fields = _object(sent, "cause", ("component", "fault", "summary"))
    texts = {name: _text(fields.get(name, ""), f"cause.{name}") for name in ("component", "fault", "summary")}
    for name in ("component", "fault"):
        if not texts[name]:
            raise _wrong(f"cause.{name}", "name it")
    return Cause(**texts)


def read_ruled_out(sent: Any, claims: Sequence[Claim]) -> tuple[RuledOut, ...]:
    """The rivals; each names claims of this submission."""
    found = []
    for place, one in enumerate(_list(sent, "ruled_out", RULED_OUT_MAX)):
        where = f"ruled_out[{place}]"
        fields = _object(one, where, ("component", "fault", "claims", "why"))
        cited = _list(fields.get("claims", []), f"{where}.claims", CLAIMS_MAX)
        if not all(type(index) is int and 0 <= index < len(claims) for index in cited):
            raise _wrong(f"{where}.claims", "give places in `claims`, from 0")
        component, fault, why = (
            _text(fields.get(name, ""), f"{where}.{name}") for name in ("component", "fault", "why")
        )
        found.append(RuledOut(component, fault, tuple(dict.fromkeys(cited)), why))
    return tuple(found)


def _claim(sent: Any, place: int) -> Claim:
    """One claim."""
    where = f"claims[{place}]"
    fields = _object(sent, where, (*_CLAIM_TEXTS, "value"))
    texts = {name: _text(fields.get(name, ""), f"{where}.{name}") for name in _CLAIM_TEXTS}
    role = texts.pop("role") or "cause"
    if not texts["observation"].startswith("obs_") or not texts["selector"]:
        raise _wrong(where, "give `observation` (obs_…) and `selector`")
    if texts["op"] not in OPERATORS:
        raise _wrong(f"{where}.op", f"one of {', '.join(OPERATORS)}")
    if role not in ROLES:
        raise _wrong(f"{where}.role", f"one of {', '.join(ROLES)}")
    value = fields.get("value")
    if isinstance(value, (list, Mapping, float)) or (isinstance(value, str) and len(value) > _TEXT_MAX):
        raise _wrong(f"{where}.value", "a short text, an integer, true, false or null; decimals as text")
    if texts["op"] in _WITHOUT_VALUE and value is not None:
        raise _wrong(f"{where}.value", "leave it out with `exists` and `absent`")
    tolerance = _tolerance(texts.pop("tolerance"), texts["op"], where)
    return Claim(**texts, role=role, value=value, tolerance=tolerance, as_sent=dict(fields))


def _tolerance(text: str, op: str, where: str) -> Decimal | None:
    """The relative tolerance; only where equality is asked, and never so wide that anything fits."""
    if not text:
        return None
    number = number_of(text)
    if op not in ("eq", "ne") or number is None or not 0 <= number <= TOLERANCE_MAX:
        raise _wrong(f"{where}.tolerance", f"with `eq` or `ne` only, decimal text from 0 to {TOLERANCE_MAX}")
    return number


def _object(sent: Any, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    """An object with no unknown field."""
    if not isinstance(sent, Mapping):
        raise _wrong(where, "an object")
    if unknown := sorted(set(sent) - set(known)):
        raise _wrong(f"{where}.{str(unknown[0])[:40]}", f"leave it out; known fields: {', '.join(known)}")
    return sent


def _list(sent: Any, where: str, most: int) -> Sequence[Any]:
    """A list that is not too long."""
    if not isinstance(sent, (list, tuple)) or len(sent) > most:
        raise _wrong(where, f"a list of at most {most}")
    return sent


def _text(sent: Any, where: str) -> str:
    """A text that is not too long."""
    if not isinstance(sent, str) or len(sent) > _TEXT_MAX * 2:
        raise _wrong(where, f"a text of at most {_TEXT_MAX * 2} characters")
    return sent


def _wrong(where: str, remedy: str) -> BadRequest:
    return BadRequest(f"field `{where}` breaks the schema of a diagnosis", code="claim.schema", remedy=remedy)
