"""An engine's answer, read strictly as ``broker.decision/v1``.

Whatever the gate does not know refuses: an effect, an obligation, a field of one, a wrong type. Sets have no order
that engines share, so every array is sorted here and equal decisions are equal values on both engines.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson

from broker.errors import Reason
from broker.model import (
    Cap,
    Constrain,
    Decision,
    DryRun,
    Json,
    Lease,
    Limit,
    Obligation,
    Redact,
    RequireApproval,
    Residency,
    TimeBox,
)
from broker.policy.engine import BAD_DECISION, unavailable

SCHEMA = "broker.decision/v1"
SCOPES = frozenset({"actor", "subject", "session", "tenant", "action", "resource", "global"})
PLACES = frozenset({"arguments", "prompt", "result"})
BOUNDS = frozenset({"max", "min", "one_of", "max_length"})
_FIELDS = frozenset({"schema", "effect", "risk", "reasons", "obligations", "advice"})
_TIER_MAX = 4
_SECONDS_MAX = 366 * 86_400
_COUNT_MAX = 2**53
_KEPT_MAX = 1_024
_KEPT_BYTES_MAX = 8_192

T = TypeVar("T")


class _Fault(Exception):
    """What is wrong with an answer; becomes ``policy.bad_decision`` at the edge of this file."""


class _Parts(NamedTuple):
    """A whole answer, checked; nobody changes what is inside."""

    effect: str
    tier: int
    factors: tuple[str, ...]
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    advice: Mapping[str, Json]


def decision_id() -> str:
    """Return ``dec_`` and 26 characters that nobody can guess."""
    return "dec_" + secrets.token_hex(13)


class Readings:
    """What answers of one bundle say, the latest ones kept: equal bytes read alike.

    This keeps no decision: the engine is asked for every input. Only its answer is not taken apart again when it is,
    byte for byte, one that was read before; an agent's reads of one kind all get the same.
    """

    def __init__(self, remedies: Mapping[str, str]) -> None:
        """``remedies`` of the bundle, by code."""
        self._remedies = remedies
        self._kept: dict[bytes, _Parts] = {}

    def of(self, answer: bytes) -> _Parts:
        """The checked parts of ``answer``; raises ``PolicyUnavailable`` (``policy.bad_decision``)."""
        parts = self._kept.get(answer)
        if parts is None:
            parts = self._read(answer)
            if len(answer) <= _KEPT_BYTES_MAX:
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[answer] = parts
        return parts

    def _read(self, answer: bytes) -> _Parts:
        try:
            return _parts(orjson.loads(answer), self._remedies)
        except (_Fault, ValueError, TypeError, KeyError) as error:
            what = str(error) if isinstance(error, _Fault) else type(error).__name__
            raise unavailable(BAD_DECISION, f"the policy's answer is refused: {what}", retry_after=None) from None


def read_decision(  # noqa: PLR0913 - one keyword per fact that the decision states of its origin
    answer: bytes,
    *,
    readings: Readings,
    revision: str,
    digest: str,
    engine: str,
    input_digest: str,
) -> Decision:
    """Read ``answer``; raises ``PolicyUnavailable`` (``policy.bad_decision``) naming the field that does not fit."""
    parts = readings.of(answer)
    return Decision(
        id=decision_id(),
        effect=parts.effect,
        tier=parts.tier,
        factors=parts.factors,
        reasons=parts.reasons,
        obligations=parts.obligations,
        advice=parts.advice,
        policy_revision=revision,
        policy_digest=digest,
        engine=engine,
        input_digest=input_digest,
    )


def canonical_answer(answer: bytes) -> bytes:
    """The answer with every array sorted and every key in order, for comparing engines."""
    return orjson.dumps(_sorted(orjson.loads(answer)), option=orjson.OPT_SORT_KEYS)


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sorted(child) for key, child in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(child) for child in value), key=lambda v: orjson.dumps(v, option=orjson.OPT_SORT_KEYS))
    return value


def _parts(raw: Any, remedies: Mapping[str, str]) -> _Parts:
    """The checked parts of a whole answer."""
    if not isinstance(raw, dict) or raw.keys() != _FIELDS or raw["schema"] != SCHEMA:
        raise _Fault("it is not broker.decision/v1")
    effect = raw["effect"]
    if effect not in {"permit", "deny"}:
        raise _Fault("effect is unknown")
    risk = _object(raw["risk"], "risk", {"tier", "factors"})
    tier = _integer(risk["tier"], "risk.tier", 0, _TIER_MAX)
    reasons = tuple(sorted((_reason(item, remedies) for item in _list(raw["reasons"], "reasons")), key=_reason_order))
    obligations = _obligations(raw["obligations"])
    advice = _plain_object(raw["advice"], "advice")
    if effect == "deny" and (obligations or not reasons):
        raise _Fault("a deny has reasons and no obligations")
    return _Parts(effect, tier, _texts(risk["factors"], "risk.factors"), reasons, obligations, advice)


def _reason(item: Json, remedies: Mapping[str, str]) -> Reason:
    fields = _object(item, "reasons", {"code", "rule"}, {"params"})
    params = _plain_object(fields.get("params", {}), "reasons.params")
    if not all(isinstance(value, (str, int)) for value in params.values()):
        raise _Fault("reasons.params holds more than text, integers and booleans")
    code = _text(fields["code"], "reasons.code")
    return Reason(code, remedies.get(code, ""), params, _text(fields["rule"], "reasons.rule"))


def _reason_order(reason: Reason) -> tuple[str, str, bytes]:
    return reason.code, reason.rule, orjson.dumps(dict(reason.params), option=orjson.OPT_SORT_KEYS)


def _obligations(raw: Json) -> tuple[Obligation, ...]:
    """All obligations in a fixed order: limits by name, then one of each other kind by name."""
    fields = _plain_object(raw, "obligations")
    unknown = fields.keys() - _READERS.keys() - {"limits"}
    if unknown:
        raise _Fault(f"obligation `{min(unknown)}` is unknown")
    limits = sorted(
        (_limit(item) for item in _list(fields.get("limits", []), "limits")), key=lambda one: (one.name, one.scope)
    )
    if len({(one.name, one.scope) for one in limits}) < len(limits):
        raise _Fault("two limits have one name and scope")
    read = (_READERS[kind](fields[kind]) for kind in sorted(fields) if kind != "limits")
    return (*limits, *(one for one in read if one is not None))


def _limit(raw: Json) -> Limit:
    fields = _object(raw, "limits", {"name", "scope", "max", "window_s", "burst", "cost"})
    return Limit(
        name=_text(fields["name"], "limits.name"),
        scope=_member(fields["scope"], "limits.scope", SCOPES),
        max=_integer(fields["max"], "limits.max", 0, _COUNT_MAX),
        window_s=_integer(fields["window_s"], "limits.window_s", 1, _SECONDS_MAX),
        burst=_integer(fields["burst"], "limits.burst", 0, _COUNT_MAX),
        cost=_integer(fields["cost"], "limits.cost", 0, _COUNT_MAX),
    )


def _approval(raw: Json) -> RequireApproval:
    fields = _object(raw, "approval", {"quorum", "roles", "expires_s", "separation", "signature"}, {"time_box"})
    roles = _texts(fields["roles"], "approval.roles")
    if not roles:
        raise _Fault("approval.roles is empty")
    return RequireApproval(
        quorum=_integer(fields["quorum"], "approval.quorum", 1, 16),
        roles=roles,
        expires_s=_integer(fields["expires_s"], "approval.expires_s", 1, _SECONDS_MAX),
        separation=_member(fields["separation"], "approval.separation", frozenset({"actor", "subject"})),
        signature=_boolean(fields["signature"], "approval.signature"),
        time_box=_time_box(fields["time_box"], fields["expires_s"]) if "time_box" in fields else None,
    )


def _time_box(raw: Json, expires_s: int) -> TimeBox:
    fields = _object(raw, "approval.time_box", {"rule", "seconds", "per_day", "acknowledge"})
    acknowledge = _texts(fields["acknowledge"], "approval.time_box.acknowledge")
    if not acknowledge:
        raise _Fault("approval.time_box.acknowledge is empty")
    return TimeBox(
        rule=_text(fields["rule"], "approval.time_box.rule"),
        # A box that ends no earlier than the approval itself would never be one.
        seconds=_integer(fields["seconds"], "approval.time_box.seconds", 1, expires_s - 1),
        per_day=_integer(fields["per_day"], "approval.time_box.per_day", 1, _COUNT_MAX),
        acknowledge=acknowledge,
    )


def _residency(raw: Json) -> Residency:
    fields = _object(raw, "residency", {"regions", "data_classes"})
    return Residency(
        _texts(fields["regions"], "residency.regions"), _texts(fields["data_classes"], "residency.data_classes")
    )


def _constrain(raw: Json) -> Constrain:
    fields = _object(raw, "constrain", {"arguments"})
    arguments = _plain_object(fields["arguments"], "constrain.arguments")
    for name, bounds in arguments.items():
        where = f"constrain.arguments.{name}"
        for word, value in _plain_object(bounds, where).items():
            if word not in BOUNDS:
                raise _Fault(f"{where} has the unknown bound `{word}`")
            if word == "one_of":
                _list(value, where)
            elif word == "max_length" or not isinstance(value, str):
                _integer(value, where, -_COUNT_MAX, _COUNT_MAX)
    return Constrain(arguments)


def _lease(raw: Json) -> Lease:
    fields = _object(raw, "lease", {"keys", "seconds"})
    keys = _texts(fields["keys"], "lease.keys")
    if not keys:
        raise _Fault("lease.keys is empty")
    return Lease(keys, _integer(fields["seconds"], "lease.seconds", 1, 86_400))


def _redact(raw: Json) -> Redact:
    fields = _object(raw, "redact", {"profile", "at"}, {"restore"})
    places = _texts(fields["at"], "redact.at")
    if not places or not set(places) <= PLACES:
        raise _Fault("redact.at is empty or names an unknown place")
    restore = _plain_object(fields.get("restore", {}), "redact.restore")
    return Redact(
        profile=_text(fields["profile"], "redact.profile"),
        at=places,
        restore={path: _texts(entities, "redact.restore") for path, entities in restore.items()},
    )


def _cap(raw: Json) -> Cap:
    fields = _object(raw, "cap", {"bytes", "rows"})
    return Cap(
        _integer(fields["bytes"], "cap.bytes", 0, _COUNT_MAX), _integer(fields["rows"], "cap.rows", 0, _COUNT_MAX)
    )


def _dry_run(raw: Json) -> DryRun | None:
    return DryRun() if _boolean(raw, "dry_run") else None


_READERS: Mapping[str, Callable[[Json], Obligation | None]] = {
    "approval": _approval,
    "residency": _residency,
    "constrain": _constrain,
    "lease": _lease,
    "redact": _redact,
    "cap": _cap,
    "dry_run": _dry_run,
}


def _object(raw: Json, where: str, required: set[str], optional: Sequence[str] | set[str] = ()) -> dict[str, Any]:
    """An object with exactly these fields."""
    fields = _plain_object(raw, where)
    missing = required - fields.keys()
    if missing:
        raise _Fault(f"{where}.{min(missing)} is missing")
    unknown = fields.keys() - required - set(optional)
    if unknown:
        raise _Fault(f"{where}.{min(unknown)} is unknown")
    return fields


def _plain_object(raw: Json, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _Fault(f"{where} is not an object")
    return raw


def _list(raw: Json, where: str) -> list[Any]:
    if not isinstance(raw, list):
        raise _Fault(f"{where} is not an array")
    return raw


def _texts(raw: Json, where: str) -> tuple[str, ...]:
    """A sorted array of text."""
    return tuple(sorted(_text(item, where) for item in _list(raw, where)))


def _text(raw: Json, where: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise _Fault(f"{where} is not text")
    return raw


def _member(raw: Json, where: str, known: frozenset[str]) -> str:
    text = _text(raw, where)
    if text not in known:
        raise _Fault(f"{where} is not one of {', '.join(sorted(known))}")
    return text


def _integer(raw: Json, where: str, low: int, high: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
        raise _Fault(f"{where} is not an integer from {low} to {high}")
    return raw


def _boolean(raw: Json, where: str) -> bool:
    if not isinstance(raw, bool):
        raise _Fault(f"{where} is not true or false")
    return raw
