"""Actions and their manifests: what can be asked, with which typed arguments, and what it may do.

A manifest (YAML in the policy bundle, schema ``policies/schemas/manifest.v1.schema.json``) declares the actions of one
connector. What an action *is*, is policy, so manifests are signed with the bundle; addresses and credentials are
configuration. The catalog turns bytes that the strict reader accepted into an ``ActionRequest`` with a digest: the
bytes hashed are the bytes decided, executed and recorded.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from jsonschema import Draft202012Validator, ValidationError, validators

from broker.errors import BadRequest, NotFound
from broker.model import ActionRequest, Effect, Json, Label, Resource
from broker.shapes import Says, quick_yes, to_the_end


@dataclass(frozen=True, slots=True)
class Action:
    """One action as its manifest declares it (design §1, word *Action*)."""

    name: str
    connector: str
    title: str
    effect: Effect
    reversibility: str
    """``reversible`` (a rollback exists), ``compensable`` or ``irreversible``."""
    idempotent: bool
    resource_types: tuple[str, ...]
    schema: Mapping[str, Json]
    """JSON Schema 2020-12 of the arguments object; ``additionalProperties`` is always false."""
    destinations: tuple[str, ...] = ()
    """Argument names that say where data goes; provenance is checked on these."""
    attacker_writable: tuple[str, ...] = ()
    """Result paths (``$.lines[*].text``) that an outsider can write."""
    data_classes: tuple[str, ...] = ()
    signal: str = ""
    """What kind of evidence the result is: metric, log, change, state, config, trace, alert; empty: none."""
    well: tuple[Mapping[str, Json], ...] = ()
    """Claims that hold of a result that is well: ``{"selector", "op", "value"}``; what holds of it is evidence of nothing."""
    cost: int = 1
    cost_by: str = ""
    """The list among the arguments that each item of costs as much; empty: a request costs ``cost``."""
    rollback: Mapping[str, Json] | None = None
    verification: Mapping[str, Json] | None = None
    remedy: Mapping[str, Json] | None = None
    """What it heals, and how it is asked for then: ``faults``, ``resource``, ``arguments``, ``preconditions``, caps."""
    transport: Mapping[str, Json] = field(default_factory=dict)
    """How a manifest-driven adapter sends it, e.g. ``{"method","path","query","body"}`` for ``http``."""

    def cost_of(self, arguments: Mapping[str, Json]) -> int:
        """What one request with ``arguments`` takes from its limits."""
        items = arguments.get(self.cost_by)
        return self.cost * max(1, len(items)) if isinstance(items, list) else self.cost


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """JSON Schema's ``$`` is the end of the text; Python's would let a line feed follow."""
    if isinstance(instance, str) and not re.search(to_the_end(pattern), instance):
        yield ValidationError("does not match")


Arguments = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


class Catalog:
    """All actions of one verified bundle, by name."""

    def __init__(self, actions: Iterable[Action]) -> None:
        """Index ``actions``; a name declared twice is a ``BadRequest``."""
        self._actions: dict[str, Action] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        self._quick: dict[str, Says] = {}
        for action in actions:
            if action.name in self._actions:
                msg = f"action `{action.name}` is declared twice"
                raise BadRequest(msg, code="catalog.duplicate_action", remedy="declare each action in one manifest")
            self._actions[action.name] = action
            self._validators[action.name] = Arguments(dict(action.schema))
            self._quick[action.name] = quick_yes(action.schema, lambda part: Arguments(part).is_valid)

    @classmethod
    def from_manifests(cls, manifests: Iterable[Mapping[str, Json]]) -> "Catalog":
        """Build from parsed manifest documents (already checked against the manifest schema)."""
        return cls(action for manifest in manifests for action in _actions_of(manifest))

    def action(self, name: str) -> Action:
        """Return the action called ``name``; raises ``NotFound`` (``catalog.unknown_action``)."""
        try:
            return self._actions[name]
        except KeyError:
            msg = "this action is not in the catalog"
            raise NotFound(msg, code="catalog.unknown_action", remedy="list the actions with GET /v1/actions") from None

    def actions(self) -> tuple[Action, ...]:
        """All actions, sorted by name."""
        return tuple(self._actions[name] for name in sorted(self._actions))

    def request(  # noqa: PLR0913 - one keyword per bound field
        self,
        *,
        action_id: str,
        tenant: str,
        requester: str,
        session: str,
        action: str,
        resource: Resource,
        arguments: Mapping[str, Json],
        reason: str = "",
        idempotency_key: str = "",
        diagnosis: str = "",
        labels: Mapping[str, Label] | None = None,
        content: Json = None,
    ) -> ActionRequest:
        """Bind everything that matters in a digest; ``arguments`` are as ``complete`` returned them.

        ``requester`` (the acting party's id) is bound too, so that one agent's approval never fits another's request.
        """
        bound = {
            "action": action,
            "arguments": arguments,
            "diagnosis": diagnosis,
            "requester": requester,
            "resource": {"env": resource.env, "id": resource.id, "region": resource.region, "type": resource.type},
            "session": session,
            "tenant": tenant,
        }
        return ActionRequest(
            id=action_id,
            tenant=tenant,
            session=session,
            action=action,
            resource=resource,
            arguments=arguments,
            reason=reason,
            digest=hashlib.sha256(orjson.dumps(bound, option=orjson.OPT_SORT_KEYS)).hexdigest(),
            idempotency_key=idempotency_key,
            diagnosis=diagnosis,
            labels=labels or {},
            content=content,
        )

    def complete(self, action: str, resource: Resource, arguments: Mapping[str, Json]) -> dict[str, Json]:
        """``arguments`` with defaults filled in, checked against the action's schema.

        An action that the catalog does not know passes unchanged: policy denies it by name. Raises ``BadRequest`` that
        names the first wrong field and the rule it breaks, never its value.
        """
        declared = self._actions.get(action)
        if declared is None:
            return dict(arguments)
        if declared.resource_types and resource.type not in declared.resource_types:
            msg = f"field `resource.type` must be one of {', '.join(declared.resource_types)}"
            raise BadRequest(msg, code="request.resource_type")
        complete = _with_defaults(declared.schema, arguments)
        validator = self._validators[action]
        if not self._quick[action](complete) and not validator.is_valid(complete):
            errors = sorted(validator.iter_errors(complete), key=lambda e: [str(part) for part in e.absolute_path])
            where = ".".join(["arguments", *map(str, errors[0].absolute_path)])
            msg = f"field `{where}` breaks the rule `{_rule(errors[0])}` of action `{action}`"
            raise BadRequest(msg, code="request.arguments")
        return complete

    def find(self, name: str) -> Action | None:
        """The action called ``name``, or None."""
        return self._actions.get(name)


def _list_of(action: str, arguments: Mapping[str, Any], named: str) -> str:
    """``named``, which is a list among the arguments, or nothing."""
    if named and arguments.get(named, {}).get("type") != "array":
        msg = f"field `actions.{action}.cost_by` names no list among the arguments"
        raise BadRequest(msg, code="manifest.cost_by", remedy="name an argument of the type array, or leave it out")
    return named


def _rule(error: ValidationError) -> str:
    """The broken rule with its bound, such as ``maximum 3600``; for unknown or missing names, the names the schema knows."""
    if error.validator == "additionalProperties":
        return (
            "known arguments: " + ", ".join(sorted(error.schema.get("properties", {})))
            if isinstance(error.schema, Mapping)
            else "known arguments"
        )
    return f"{error.validator} {error.validator_value}"


def _with_defaults(schema: Mapping[str, Any], arguments: Mapping[str, Json]) -> dict[str, Json]:
    """Arguments with the schema's top-level defaults filled in, so that the digest covers what will run."""
    filled = {name: rule["default"] for name, rule in schema.get("properties", {}).items() if "default" in rule}
    return {**filled, **arguments}


def _actions_of(manifest: Mapping[str, Any]) -> Iterable[Action]:
    """Turn one manifest document into its actions."""
    connector = manifest["connector"]
    for name, spec in manifest["actions"].items():
        arguments = spec.get("arguments", {})
        yield Action(
            name=name,
            connector=connector,
            title=spec["title"],
            effect=Effect(spec["effect"]),
            reversibility=spec["reversibility"],
            idempotent=spec["idempotent"],
            resource_types=tuple(spec.get("resource_types", ())),
            schema={
                "type": "object",
                "properties": {key: _argument_schema(rule) for key, rule in arguments.items()},
                "required": sorted(key for key, rule in arguments.items() if rule.get("required")),
                "additionalProperties": False,
            },
            destinations=tuple(spec.get("destinations", ())),
            attacker_writable=tuple(spec.get("result", {}).get("attacker_writable", ())),
            data_classes=tuple(spec.get("result", {}).get("data_classes", ())),
            signal=_signal(spec.get("result", {}).get("signal", "none")),
            well=tuple(spec.get("result", {}).get("well", ())),
            cost=spec.get("cost", 1),
            cost_by=_list_of(name, arguments, spec.get("cost_by", "")),
            rollback=spec.get("rollback"),
            verification=spec.get("verification"),
            remedy=spec.get("remedy"),
            transport=spec.get("transport", {}),
        )


def _signal(word: str) -> str:
    """The class of evidence, empty for ``none``."""
    return "" if word == "none" else word


def _argument_schema(rule: Mapping[str, Any]) -> dict[str, Json]:
    """One argument's rule as JSON Schema; ``decimal`` is exact text, because floats are banned from digests."""
    schema = {key: value for key, value in rule.items() if key != "required"}
    if schema.get("type") == "decimal":
        schema["type"] = "string"
        schema["pattern"] = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?$"
    return schema
