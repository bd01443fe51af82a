"""What a reviewer may change: arguments, and only to narrower values."""

import re
from collections.abc import Mapping
from decimal import Decimal

from broker.errors import BadRequest
from broker.model import Constrain, Decision, Json
from broker.store.rows import pack

DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?")


def bounds_of(decision: Decision, schema: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    """Rules by argument from the decision's ``Constrain`` and the action's schema; the tighter bound counts."""
    names = {"maximum": "max", "minimum": "min", "enum": "one_of"}
    found: dict[str, dict[str, Json]] = {}
    for argument, rule in schema.get("properties", {}).items():
        declared = {names[key]: value for key, value in rule.items() if key in names}
        if rule.get("uniqueItems"):
            declared["subset"] = True  # a set; another list (a command's words) means something else without a part
        if declared:
            found[argument] = declared
    for duty in decision.obligations:
        if isinstance(duty, Constrain):
            for argument, rule in duty.arguments.items():
                found[argument] = _tighter(found.get(argument, {}), rule)
    return found


def narrowed(
    arguments: Mapping[str, Json], changes: Mapping[str, Json], bounds: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    """Return ``arguments`` with ``changes``; raises ``BadRequest`` (``approval.not_narrower``) naming the first that widens.

    Only an argument that is there and has a rule may change, to a value of its own type:

    * a number (or exact decimal text) with ``max``: smaller or equal, not below ``min``, and not below zero if it was
      not; with ``min`` alone: greater or equal;
    * a list with ``one_of`` or ``subset``: some of its elements in their order, at least one, each in ``one_of``;
    * text, or anything else, with ``one_of``: a value that stands before the present one in that list, which is written
      narrowest first; without ``one_of`` it may not change.
    """
    result = dict(arguments)
    for name, value in changes.items():
        if name not in arguments or not _is_narrower(arguments[name], value, bounds.get(name)):
            raise BadRequest(
                f"field `narrow.{name}` does not narrow the argument",
                code="approval.not_narrower",
                remedy="lower a number that has a bound, drop elements of a list, or deny and ask for a new request",
            )
        result[name] = value
    return result


def _is_narrower(old: Json, new: Json, rule: Mapping[str, Json] | None) -> bool:
    """Say whether ``new`` allows no more than ``old`` under ``rule``."""
    if type(old) is not type(new):
        return False
    if pack(old) == pack(new):
        return True
    if rule is None:
        return False
    # Python holds 1 and True for equal; their bytes differ.
    order = [pack(value) for value in rule["one_of"]] if "one_of" in rule else None
    if isinstance(old, list):
        rest = iter([pack(item) for item in old])
        is_part = bool(new) and all(item in rest and (order is None or item in order) for item in map(pack, new))
        return is_part and (order is not None or "subset" in rule)
    if order is not None and not ("max" in rule or "min" in rule):
        return pack(old) in order and pack(new) in order and order.index(pack(new)) < order.index(pack(old))
    return _is_less(old, new, rule)


def _is_less(old: Json, new: Json, rule: Mapping[str, Json]) -> bool:
    """Compare two numbers, or two exact decimal texts, under ``max`` and ``min``."""
    before, after = _number(old), _number(new)
    high, low = _number(rule.get("max")), _number(rule.get("min"))
    if before is None or after is None:
        return False
    if high is None:
        return low is not None and after >= before
    keeps_sign = after >= 0 or before < 0
    return keeps_sign and after <= min(before, high) and (low is None or after >= low)


def _number(value: Json) -> Decimal | None:
    """Read an integer, or the exact text of the catalog's type ``decimal``; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    return Decimal(value) if isinstance(value, int) or DECIMAL.fullmatch(value) else None


def _tighter(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, Json]:
    """Join two rules for one argument so that both hold."""
    joined = {**one, **other}
    for key, pick in (("max", min), ("min", max)):
        if key in one and key in other:
            joined[key] = pick(one[key], other[key], key=lambda bound: _number(bound) or Decimal(0))
    if "one_of" in one and "one_of" in other:
        joined["one_of"] = [value for value in other["one_of"] if value in one["one_of"]]
    return joined
