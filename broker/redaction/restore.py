"""Pseudonyms back to values: exactly, never by likeness, and only where policy allows.

``allow`` maps argument paths (``$.to``, ``$.recipients[*]``, ``$.filter.user``) to entities. At such a path every text
of token form must be a token of this session and of an allowed entity; anything else is refused with a reason that a
model can act on. Everywhere else tokens stay tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.errors import ObligationFailed, Reason
from broker.redaction.tokens import TOKEN, entity_of
from broker.redaction.vault import OpenSession


def restored(arguments: Mapping[str, Any], allow: Mapping[str, Sequence[str]], session: OpenSession) -> dict[str, Any]:
    """A copy of ``arguments`` with the allowed tokens replaced."""
    plan = {tuple(_steps(path)): frozenset(entities) for path, entities in allow.items()}
    result = _at(arguments, (), plan, session)
    assert isinstance(result, dict)
    return result


def _steps(path: str) -> list[str]:
    """``$.a.b[*]`` -> ``["a", "b", "*"]``; ``$`` alone is everything below the root."""
    return [step for step in path.removeprefix("$").replace("[", ".").replace("]", "").split(".") if step]


def _at(node: Any, path: tuple[str, ...], plan: Mapping[tuple[str, ...], frozenset[str]], session: OpenSession) -> Any:
    if isinstance(node, Mapping):
        return {key: _at(value, (*path, str(key)), plan, session) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_at(value, (*path, str(index)), plan, session) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    entities: frozenset[str] = frozenset().union(*(allowed for steps, allowed in plan.items() if _fits(steps, path)))
    return _text(node, path, entities, session) if entities else node


def _fits(steps: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(steps) == len(path) and all(step in {"*", part} for step, part in zip(steps, path, strict=True))


def _text(text: str, path: tuple[str, ...], entities: frozenset[str], session: OpenSession) -> str:
    pieces: list[str] = []
    at = 0
    for match in TOKEN.finditer(text):
        token, value = match.group(), session.values.get(match.group())
        where = "$." + ".".join(path)
        if value is None or not session.keys.genuine(token):
            raise _refused(
                "redaction.token_unknown",
                f"the pseudonym at {where} is not one of this session",
                "copy the pseudonym exactly as a result of this session showed it",
                where,
            )
        if entity_of(token) not in entities:
            raise _refused(
                "redaction.token_not_allowed",
                f"policy does not allow {entity_of(token)} at {where}",
                "use a pseudonym of an allowed kind at this path",
                where,
            )
        end = _end_of_kept(text, match.end(), entity_of(token), value)
        pieces += (text[at : match.start()], value)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)


def _end_of_kept(text: str, at: int, entity: str, value: str) -> int:
    """Skip the part that the operator kept beside the token (``@domain``, ``_1111``): the value holds it already."""
    if entity == "EMAIL":
        kept = "@" + value.rpartition("@")[2]
        return at + len(kept) if text[at : at + len(kept)].lower() == kept.lower() else at
    if entity == "CARD":
        kept = "_" + "".join(char for char in value if char.isdigit())[-4:]
        return at + len(kept) if text.startswith(kept, at) else at
    return at


def _refused(code: str, detail: str, remedy: str, where: str) -> ObligationFailed:
    return ObligationFailed(detail, code=code, remedy=remedy, reasons=(Reason(code, remedy, {"path": where}),))
