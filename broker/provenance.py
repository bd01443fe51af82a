"""Labels on values: which arguments an attacker could have written.

A value is trusted when a trusted intent of the session holds it, when the gate's own inventory names it, or when it is
a number, a boolean or null (bounded by the schema). In a session that attacker-writable text has entered (``tainted``)
every other string is untrusted; before that, nothing an outsider wrote can have reached the agent. Policy sees the
labels and refuses untrusted destinations.
"""

from collections.abc import Iterable, Iterator, Mapping

from broker.model import Json, Label, Resource, Session

_WORD_MIN = 2


def label_arguments(arguments: Mapping[str, Json], *, session: Session | None, resource: Resource) -> dict[str, Label]:
    """Label each argument path (``$.name``, ``$.list[*]``); a path is as untrusted as its worst value."""
    trusted_texts = [intent.text for intent in session.intent if intent.trusted] if session else []
    tainted = session.tainted if session else False
    labels: dict[str, Label] = {}
    for path, leaf in _leaves("$", arguments):
        worst = labels.get(path, Label.TRUSTED)
        labels[path] = (
            Label.UNTRUSTED
            if Label.UNTRUSTED in (worst, _label(leaf, trusted_texts, resource, tainted=tainted))
            else Label.TRUSTED
        )
    return labels


def taints(attacker_writable: Iterable[str], value: Json) -> bool:
    """True when a result holds something at a path that an outsider can write."""
    return any(_present(value, path.removeprefix("$").removeprefix(".")) for path in attacker_writable)


def _label(leaf: Json, trusted_texts: list[str], resource: Resource, *, tainted: bool) -> Label:
    """One leaf's label."""
    if not isinstance(leaf, str) or not leaf or not tainted:
        return Label.TRUSTED
    if leaf in (resource.id, resource.env, resource.type, resource.region):
        return Label.TRUSTED
    if len(leaf) >= _WORD_MIN and any(_holds(text, leaf) for text in trusted_texts):
        return Label.TRUSTED
    return Label.UNTRUSTED


def _holds(text: str, value: str) -> bool:
    """True when ``value`` stands in ``text`` as a whole, not as a piece of a longer word."""
    at = text.find(value)
    while at >= 0:
        before = text[at - 1] if at else " "
        after = text[at + len(value)] if at + len(value) < len(text) else " "
        if not (before.isalnum() or after.isalnum()):
            return True
        at = text.find(value, at + 1)
    return False


def _leaves(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    """Every scalar below ``value`` with its path; keys of nested objects count as leaves, too."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if path != "$":
                yield path, key
            yield from _leaves(f"{path}.{key}" if path == "$" else path, child)
    elif isinstance(value, list):
        for child in value:
            yield from _leaves(path, child)
    else:
        yield path, value


def _present(value: Json, path: str) -> bool:
    """Whether a non-empty value stands at ``path`` (names, ``[*]`` for every element)."""
    if not path:
        return value not in (None, "", [], {})
    if path.startswith("[*]"):
        return isinstance(value, list) and any(_present(child, path[3:].removeprefix(".")) for child in value)
    name, rest = _split(path)
    return isinstance(value, Mapping) and name in value and _present(value[name], rest)


def _split(path: str) -> tuple[str, str]:
    """First name of ``path`` and the rest."""
    for index, character in enumerate(path):
        if character in ".[":
            return path[:index], path[index:].removeprefix(".")
    return path, ""
