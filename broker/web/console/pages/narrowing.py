"""Form fields that can only make a request less, and back from the form to arguments.

A field's name is ``narrow:<kind>:<argument>``; choices and parts of lists carry their value as JSON. What is narrower is
checked where it counts, in ``broker/approvals/narrowing.py``; here nothing wider is offered.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import BadRequest
from broker.model import Json
from broker.web.console import words

_PREFIX = "narrow:"


@dataclass(frozen=True, slots=True)
class Narrow:
    """One argument that may become less. ``options``: value as JSON, and as people read it."""

    name: str
    kind: str
    """``int``, ``decimal``, ``choice`` or ``list``."""
    value: str
    most: str = ""
    least: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def field(self) -> str:
        """The field's name."""
        return f"{_PREFIX}{self.kind}:{self.name}"


def fields_of(arguments: Mapping[str, Json], bounds: Mapping[str, Mapping[str, Any]]) -> list[Narrow]:
    """A field for each argument whose rule leaves room below its value."""
    found = (_field(name, arguments[name], rule) for name, rule in sorted(bounds.items()) if name in arguments)
    return [one for one in found if one is not None]


def read(pairs: Iterable[tuple[str, str]]) -> dict[str, Json]:
    """Arguments of the form's fields; raises ``BadRequest`` (``approval.not_narrower``) for what is no such value."""
    found: dict[str, Any] = {}
    for name, text in pairs:
        if not name.startswith(_PREFIX):
            continue
        kind, _, argument = name.removeprefix(_PREFIX).partition(":")
        try:
            match kind:
                case "int":
                    found[argument] = int(text)
                case "decimal":
                    found[argument] = text.strip()
                case "choice":
                    found[argument] = json.loads(text)
                case "list":
                    found.setdefault(argument, [])
                case "part":
                    found.setdefault(argument, []).append(json.loads(text))
                case _:
                    raise ValueError(kind)  # noqa: TRY301 - refused as the others are, below
        except ValueError:
            raise BadRequest(
                words.approval.number.format(name=argument[:64]),
                code="approval.not_narrower",
                remedy=words.approval.number_remedy,
            ) from None
    return found


def _field(name: str, value: Json, rule: Mapping[str, Any]) -> Narrow | None:
    if isinstance(value, list):
        if len(value) < 2 or not ("one_of" in rule or "subset" in rule):
            return None
        return Narrow(name, "list", "", options=tuple((_json(one), _shown(one)) for one in value))
    if "max" in rule or "min" in rule:
        kind = "int" if isinstance(value, int) and not isinstance(value, bool) else "decimal"
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            return None
        down = "max" in rule
        most, least = (value, rule.get("min", "")) if down else ("", value)
        return Narrow(name, kind, str(value), most=str(most), least=str(least))
    order = [_json(one) for one in rule.get("one_of", ())]
    now = _json(value)
    if now not in order or order.index(now) == 0:
        return None
    below = rule["one_of"][: order.index(now) + 1]
    return Narrow(name, "choice", now, options=tuple((_json(one), _shown(one)) for one in below))


def _json(value: Json) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else _json(value)
