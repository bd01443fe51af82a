"""The total walk: every key, string, number and byte string of a value becomes a leaf.

What has no type we know is withheld. Nothing is skipped because of where it stands.

One walk serves twice: first it lists the leaves; when some are to be replaced, it runs again over the same value and
puts the replacements in. A value without replacements is returned as it came; the caller's object never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.redaction.entities import SECRET
from broker.redaction.keyrules import KUBERNETES_DATA, KUBERNETES_SECRET, KeyRule, classify

MAX_DEPTH: Final = 64
MAX_LEAVES: Final = 200_000
MAX_CHARACTERS: Final = 16 << 20
_SHORT_PART: Final = 64
_MOST_PARTS: Final = 8
_SMALL_NUMBER: Final = 100_000_000
_COUNTED = frozenset({"password", "pin", "cvv", "otp"})

_VALUES: Final = frozenset({"value", "Value"})

STRING, KEY, NUMBER, BYTES, WITHHELD = range(5)


@dataclass(slots=True)
class Leaves:
    """Parallel lists, one entry a leaf; ``groups`` are runs of short sibling strings, by leaf index."""

    texts: list[str] = field(default_factory=list)
    rules: list[KeyRule | None] = field(default_factory=list)
    sorts: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    characters: int = 0


def collect(value: Any) -> Leaves:
    """All leaves of ``value``, depth first, keys before their values."""
    walk = _Walk(None)
    walk.step(value, "", "", None, 0, "")
    leaves = walk.leaves
    leaves.characters = sum(map(len, leaves.texts))
    if leaves.characters > MAX_CHARACTERS or len(leaves.texts) > MAX_LEAVES:
        _withhold_rest(leaves)
    return leaves


def _withhold_rest(leaves: Leaves) -> None:
    """Mark what lies beyond the caps as withheld."""
    seen = 0
    for index, text in enumerate(leaves.texts):
        seen += len(text)
        if seen > MAX_CHARACTERS or index >= MAX_LEAVES:
            leaves.texts[index] = "size" if seen > MAX_CHARACTERS else "leaves"
            leaves.sorts[index] = WITHHELD
    leaves.groups.clear()


def rebuild(value: Any, replacements: Mapping[int, str]) -> tuple[Any, dict[int, str]]:
    """``value`` with leaf ``i`` replaced by ``replacements[i]``, and the path (``$.a[0]``) of each replaced leaf."""
    walk = _Walk(replacements)
    return walk.step(value, "", "", None, 0, "$"), walk.paths


class _Walk:
    """``replacements`` None: only list the leaves; else build the new value too."""

    def __init__(self, replacements: Mapping[int, str] | None) -> None:
        self.leaves = leaves = Leaves()
        self._texts, self._rules, self._sorts = leaves.texts, leaves.rules, leaves.sorts
        self.paths: dict[int, str] = {}
        self._replacements = replacements

    def step(self, node: Any, key: str, parent: str, rule: KeyRule | None, depth: int, path: str) -> Any:  # noqa: PLR0911, PLR0913, PLR0917
        """One node; its new value when replacing."""
        sort = type(node)
        if sort is str:
            return self._leaf(node, node, rule, STRING, path)
        if sort is bool or node is None:
            return node
        if sort is int or sort is float:
            if rule is None and -_SMALL_NUMBER < node < _SMALL_NUMBER:
                return node
            small = rule is not None and rule.entity == SECRET and rule.kind not in _COUNTED and -1000 < node < 1000
            return self._leaf(node, repr(node), None if small else rule, NUMBER, path)
        if depth >= MAX_DEPTH:
            return self._leaf(node, "depth", rule, WITHHELD, path)
        if isinstance(node, Mapping):
            return self._mapping(node, key, rule, depth + 1, path)
        if isinstance(node, list | tuple):
            return self._sequence(node, key, parent, rule, depth + 1, path)
        if isinstance(node, bytes | bytearray):
            try:
                return self._leaf(node, bytes(node).decode(), rule, BYTES, path)
            except UnicodeDecodeError:
                return self._leaf(node, "binary", rule, WITHHELD, path)
        return self._leaf(node, "type", rule, WITHHELD, path)

    def _leaf(self, node: Any, text: str, rule: KeyRule | None, sort: int, path: str) -> Any:
        index = len(self._texts)
        self._texts.append(text)
        self._rules.append(rule)
        self._sorts.append(sort)
        if self._replacements is None:
            return node
        replacement = self._replacements.get(index)
        if replacement is not None:
            self.paths[index] = path
            return replacement
        return text if sort == BYTES else node

    def _sequence(self, node: Any, key: str, parent: str, rule: KeyRule | None, depth: int, path: str) -> Any:  # noqa: PLR0913, PLR0917
        first = len(self.leaves.texts)
        if self._replacements is None:
            for item in node:
                self.step(item, key, parent, rule, depth, "")
            result = node
        else:
            result = [self.step(item, key, parent, rule, depth, f"{path}[{index}]") for index, item in enumerate(node)]
        size = len(node)
        if 2 <= size <= _MOST_PARTS and all(type(item) is str for item in node):
            self._note_group(list(range(first, first + size)))
        return result

    def _mapping(self, node: Mapping[Any, Any], key: str, rule: KeyRule | None, depth: int, path: str) -> Any:
        named = _named_value(node) if "value" in node or "Value" in node else None
        sealed = "kind" in node and node["kind"] == "Secret"
        strings: list[int] = []
        result: dict[Any, Any] = {}
        building = self._replacements is not None
        for name, value in node.items():
            text = name if type(name) is str else str(name)
            renamed = self._leaf(name, text, None, KEY, path)
            own = (
                KUBERNETES_SECRET
                if sealed and text in KUBERNETES_DATA
                else classify(named if named is not None and text in _VALUES else text, key)
            )
            if own is not None and not own.deep and isinstance(value, Mapping):
                own = None
            if type(value) is str:
                strings.append(len(self.leaves.texts))
            below = f"{path}.{renamed}" if building else ""
            changed = self.step(value, text, key, own or rule, depth, below)
            if building:
                while renamed in result:
                    renamed = f"{renamed}~"
                result[renamed] = changed
        if 2 <= len(strings) <= _MOST_PARTS:
            self._note_group(strings)
        return result if building else node

    def _note_group(self, indexes: list[int]) -> None:
        """Remember 2 to 8 short strings side by side: a value may be cut across them."""
        texts = self.leaves.texts
        if all(0 < len(texts[index]) <= _SHORT_PART for index in indexes):
            self.leaves.groups.append(indexes)


def _named_value(node: Mapping[Any, Any]) -> str | None:
    """The name in ``{"name": "DB_PASSWORD", "value": …}`` (Kubernetes env, HTTP archives, CloudFormation)."""
    for label in ("name", "key", "Name", "Key"):
        name = node.get(label)
        if type(name) is str:
            return name
    return None
