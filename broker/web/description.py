"""The route table for machines: what each route takes and answers, as OpenAPI 3.1 has it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from broker.web.routes import Route

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_PROBLEM = "application/problem+json"
KEYED = frozenset(
    {
        "acknowledge",
        "breakglass_confirm",
        "breakglass_end",
        "breakglass_open",
        "breakglass_review",
        "claim",
        "diagnose",
        "event",
        "exports_create",
        "finish",
        "open_session",
        "review",
    }
)
"""Routes that take no request without an idempotency key: writes that a repetition would do again."""
_CREATED = frozenset({"exports_create", "open_session", "report"})
_TEXT: Mapping[str, str] = {"livez": "text/plain", "metrics": "text/plain", "events": "text/event-stream"}
_BYTES = frozenset({"bundle", "export_file"})
_EMPTY = frozenset({"claim"})
"""Answers 204 where there is nothing."""
_MESSAGE: Mapping[str, Any] = {
    "type": "object",
    "required": ["messages", "model"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 128},
        "max_tokens": {"type": "integer", "minimum": 1},
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["content", "role"]}},
    },
}
_ALERTS: Mapping[str, Any] = {
    "type": "object",
    "required": ["alerts", "version"],
    "properties": {"version": {"const": "4"}, "alerts": {"type": "array", "items": {"type": "object"}}},
}
_FOREIGN: Mapping[str, Mapping[str, Any]] = {"messages": _MESSAGE, "count": _MESSAGE, "alertmanager": _ALERTS}
"""Bodies of other people's protocols, in outline: their own documents say the rest."""
_REFUSALS = (400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 431, 502, 503, 504)
_OF_ANYBODY = (400, 404, 405, 408, 413, 415, 421, 429, 431, 503, 504)
_WORDS = {
    "type": "object",
    "required": ["code", "detail", "reasons", "remedy", "status", "title", "type"],
    "properties": {
        **{name: {"type": "string"} for name in ("code", "decision_id", "detail", "remedy", "title", "type")},
        "status": {"type": "integer"},
        "reasons": {"type": "array", "items": {"type": "object"}},
        "receipt": {"type": "object"},
    },
}


def described(route: Route) -> dict[str, Any]:
    """FastAPI's keywords for the entry of ``route``."""
    extra: dict[str, Any] = {"x-wicketgate-action": route.action, "x-wicketgate-access": route.access}
    if route.access != "public":
        extra["security"] = [{"bearer": []}]
    if parameters := [*_in_path(route), *([_KEY] if route.handler in KEYED else [])]:
        extra["parameters"] = parameters
    body = _REF.format(model=route.body.__name__) if route.body else ""
    schema = {"$ref": body} if body else _FOREIGN.get(route.handler)
    if schema is not None:
        extra["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    extra["responses"] = {str(status): answer for status, answer in _answers(route).items()}
    return {"summary": route.summary, "operation_id": route.handler, "openapi_extra": extra, "response_model": None}


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "the same key and body give the first one's answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}


def _in_path(route: Route) -> list[dict[str, Any]]:
    """Each part of the path that is a name."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        }
        for name in re.findall(r"{(\w+)", route.path)
    ]


def _answers(route: Route) -> dict[int, dict[str, Any]]:
    """What may come back; a status that is not here is a fault of the gate."""
    refused = "application/json" if route.wire == "provider" else _PROBLEM
    page: dict[str, Any] = {"text/html": {}} if route.access == "console" or route.path.startswith("/console") else {}
    problems = _OF_ANYBODY if route.access == "public" else _REFUSALS
    found: dict[int, dict[str, Any]] = {
        status: {"description": "refused", "content": page or {refused: _problem(route)}} for status in problems
    }
    media = _TEXT.get(route.handler, _JSON)
    content: dict[str, Any] = {"application/octet-stream": {}} if route.handler in _BYTES else {media: {}}
    found[201 if route.handler in _CREATED else 200] = {"description": "done", "content": page or content}
    if route.handler == "readyz":
        found[503] = {"description": "not ready", "content": {_JSON: {}}}
    if route.access in {"owner", "pipeline"}:
        found[202] = {"description": "people must answer first", "content": {_JSON: {}}}
    if route.handler in _EMPTY:
        found[204] = {"description": "nothing"}
    return found


def _problem(route: Route) -> dict[str, Any]:
    """The form of a refusal, where it is ours."""
    return {} if route.wire == "provider" else {"schema": {"$ref": _REF.format(model="Problem")}}


def complete(document: dict[str, Any], routes: Iterable[Route]) -> dict[str, Any]:
    """The document with the schemas that its routes name, and how one signs in."""
    schemas: dict[str, Any] = {"Problem": _WORDS}
    for route in routes:
        if route.body is not None:
            schemas |= _schemas_of(route.body)
    components = document.setdefault("components", {})
    components["schemas"] = schemas
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for operations in document["paths"].values():
        for operation in operations.values():
            # FastAPI adds a 422 of its own form, and answers without a body.
            operation["responses"] = {
                status: answer for status, answer in operation["responses"].items() if answer.get("description") != _OWN
            }
    return document


_OWN = "Successful Response"


def _schemas_of(body: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a body and of all that it is made of, by name."""
    schema = body.model_json_schema(ref_template=_REF)
    return {**schema.pop("$defs", {}), body.__name__: schema}
