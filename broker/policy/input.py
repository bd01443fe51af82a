"""The policy input ``broker.input/v1`` on its way to an engine: checked, then canonical bytes, then a digest.

OPA and regorus agree on every input that fits the schema and differ on others, so nothing else reaches an engine. An
input that does not fit is a fault of the gate, not of the caller: ``policy.bad_input``. Only in the caller's own words it is
the caller's: ``request.bounds``.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from broker.errors import BadRequest
from broker.model import Json
from broker.policy.engine import BAD_INPUT, unavailable
from broker.policy.schema import Check

BYTES_MAX = 65_536
OWN_WORDS = ".action.properties."
"""Where what the caller says stands, and nowhere else."""
LATER = frozenset({"turn"})
"""Names under ``context`` that the first released schema had not; any other that a bundle does not know does not fit it."""
_INTEGER_MAX = 2**53


class ReadyInput(NamedTuple):
    """Canonical bytes (sorted keys, no spaces) and their SHA-256 (hex)."""

    json: bytes
    digest: str


def prepare(value: Mapping[str, Any], check: Check) -> ReadyInput:
    """Check ``value`` with the compiled input schema and serialise it.

    Raises ``PolicyUnavailable`` (``policy.bad_input``) or ``BadRequest`` (``request.bounds``) naming the field and rule, never the value.
    """
    fault = check(value)
    if fault and fault.startswith(OWN_WORDS):
        raise _too_much(f"field `{fault.removeprefix(OWN_WORDS).partition(':')[0]}` is too long or of a wrong form")
    if fault:
        raise unavailable(BAD_INPUT, f"the policy input is wrong at {fault}", retry_after=None)
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except (TypeError, ValueError):
        detail = "the policy input holds something that is not exact JSON"
        raise unavailable(BAD_INPUT, detail, retry_after=None) from None
    if len(text) > BYTES_MAX and len(text) - len(orjson.dumps(value["action"]["properties"])) <= BYTES_MAX // 2:
        raise _too_much(f"arguments and reason are larger together than {BYTES_MAX // 2} bytes")
    if len(text) > BYTES_MAX:
        raise unavailable(BAD_INPUT, f"the policy input is larger than {BYTES_MAX} bytes", retry_after=None)
    if _has_float(value["action"]["properties"]):
        raise unavailable(BAD_INPUT, "the policy input holds a float under .action.properties", retry_after=None)
    return ReadyInput(text, hashlib.sha256(text).hexdigest())


def facts_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The names under ``context`` of a bundle's own schema of the input; none where it does not list them."""
    context = schema.get("properties", {}).get("context", {})
    return frozenset(context.get("properties", {}))


def told(value: Mapping[str, Any], facts: frozenset[str]) -> Mapping[str, Any]:
    """The input without the ``LATER`` facts that the bundle does not know: no rule of it can ask for them, and it goes on deciding."""
    context = value.get("context")
    if not facts or not isinstance(context, Mapping):
        return value
    return {**value, "context": {name: fact for name, fact in context.items() if name not in LATER - facts}}


def _too_much(detail: str) -> BadRequest:
    """What the caller said does not fit, once it is redacted; replacing a short text by a longer one may make it so."""
    return BadRequest(detail, code="request.bounds", remedy="say less, or leave out what is not needed")


def _has_float(value: Json) -> bool:
    """True when a float hides in the free-form arguments, the one place that the schema leaves open."""
    if isinstance(value, dict):
        return any(_has_float(child) for child in value.values() if not isinstance(child, str))
    if isinstance(value, list):
        return any(_has_float(child) for child in value if not isinstance(child, str))
    return isinstance(value, float)
