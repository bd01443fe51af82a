"""A record: from a draft to leaf bytes, and back from bytes that prove to be one.

`audit.fields` holds the table. It is compiled here into nested readers, one a field, that check a value and
return it as plain JSON; one walk over a record checks and copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

from audit import canonical
from audit.canonical import JSON, Plain
from audit.errors import Receipt, RecordInvalid
from audit.fields import CLOSING, FIELDS, HINTS, KINDS, PATTERNS, VERSION, Class, Field

__all__ = ["CLOSING", "FIELDS", "KINDS", "Class", "Draft", "Placed", "Prepared", "Receipt", "check", "prepare", "read"]

FIRST_PREV: Final = sha256(b"").hexdigest()
MAX_STREAMS: Final = 4
MAX_ITEMS: Final = 64
_SEEN: Final = {name: lru_cache(maxsize=4096)(pattern.fullmatch) for name, pattern in PATTERNS.items()}
"""Most fields are text, and most texts come again: in the next record, or when this one is read for the index."""
_REQUIRED: Final = frozenset({"v", "log", "tenant", "seq", "prev", "id", "time_ns", "kind", "body"})


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before it has a place.

    `id` is the event id, unique in its log: appending it twice is refused, which makes an append a redemption.
    `stream` (a session id) and `streams` (an incident id, …) number the records of that id, so that an export
    of one of them can be proven complete. `about` is the event id that this record answers. `payload` is
    encrypted under the data key that `payload_key` (a session id) names; the leaf holds a commitment to it.
    """

    kind: str
    id: str
    time_ns: int
    body: Mapping[str, JSON] = field(default_factory=dict)
    stream: str | None = None
    about: str | None = None
    payload: bytes | None = None
    payload_key: str | None = None
    streams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """Position of a record in one of its streams; `prev` is the leaf hash (hex) of the stream's previous record."""

    id: str
    seq: int
    prev: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked draft: `fields` lacks only what the place decides (`seq`, `prev`, `streams`)."""

    fields: dict[str, Plain]
    streams: tuple[str, ...]

    def at(self, seq: int, prev: str, placed: Sequence[Placed]) -> dict[str, Plain]:
        """Return the whole record for this place."""
        record: dict[str, Plain] = {**self.fields, "seq": seq, "prev": prev}
        if placed:
            record["streams"] = [{"id": p.id, "seq": p.seq, "prev": p.prev} for p in placed]
        return record


def prepare(log: str, tenant: str, draft: Draft, payload: Mapping[str, JSON] | None = None) -> Prepared:
    """Check a draft against table, profile and size limit, as if it stood in the largest place.

    `payload` is the commitment object of the leaf, for a draft that carries one.

    Raises:
        RecordInvalid: names the field and the remedy.
    """
    streams = tuple(dict.fromkeys((*((draft.stream,) if draft.stream else ()), *draft.streams)))
    said: dict[str, object] = {"id": draft.id, "kind": draft.kind, "time_ns": str(draft.time_ns), "body": draft.body}
    if draft.about is not None:
        said["about"] = draft.about
    if payload is not None:
        said["payload"] = payload
    if streams:
        said["streams"] = [{"id": stream, "seq": canonical.MAX_INT, "prev": FIRST_PREV} for stream in streams]
    checked = _typed(said)
    _require_needs(checked)
    fields = _envelope(log, tenant) | checked
    canonical.encode_plain({**fields, "seq": canonical.MAX_INT, "prev": FIRST_PREV})
    fields.pop("streams", None)
    return Prepared(fields, streams)


@lru_cache(maxsize=1024)
def _envelope(log: str, tenant: str) -> dict[str, Plain]:
    """What is the same in every record of a log, checked once; raises RecordInvalid."""
    return _typed({"v": VERSION, "log": log, "tenant": tenant})


def read(encoded: bytes) -> dict[str, Plain]:
    """Parse leaf bytes and prove them: a record of this format, in its one spelling.

    Raises:
        RecordInvalid: not JSON, another spelling, or not a record.
    """
    record = check(canonical.parse(encoded))
    canonical.require_canonical(record, encoded)
    return record


def check(record: Mapping[str, object]) -> dict[str, Plain]:
    """Check a whole record against kinds and fields; return it as plain JSON.

    Raises:
        RecordInvalid: an unknown, missing or ill-typed field.
    """
    checked = _typed(record)
    if missing := _REQUIRED - checked.keys():
        raise RecordInvalid(min(missing), "is missing")
    _require_needs(checked)
    return checked


def _typed(record: Mapping[str, object]) -> dict[str, Plain]:
    """Check the type of each field that is there, and copy it."""
    try:
        checked = _QUICK(record)
    except (_Misfit, KeyError):
        checked = _group(_TREE, record, "")  # the same walk with the path at hand: names what is wrong
    assert isinstance(checked, dict)
    return checked


def _require_needs(checked: dict[str, Plain]) -> None:
    """Check that what belongs together is there, and what the kind needs."""
    for path in ("payload", "follows"):
        group = checked.get(path)
        if isinstance(group, dict) and len(group) != 3:
            raise RecordInvalid(path, "lacks a field")
    kind = str(checked["kind"])
    if kind not in KINDS:
        raise RecordInvalid("kind", f"{kind!r} is unknown", f"use one of {', '.join(sorted(KINDS))}")
    for steps in _NEEDS[kind]:
        at: Plain | None = checked
        for name in steps:
            at = at.get(name) if isinstance(at, dict) else None
        if at is None:
            raise RecordInvalid(".".join(steps), f"is missing; a record of kind {kind} needs it")


@lru_cache(maxsize=4096)  # the same few people, agents and resources stand in record after record
def pseudonym(key: bytes, tenant: str, domain: str, name: str) -> str:
    """Return a keyed pseudonym `<domain>_<32 hex>` of a person, agent or resource.

    HMAC-SHA256 under the tenant's key, over tenant, domain and name; equal names give equal pseudonyms inside
    a tenant, and nobody without the key can test a guess.
    """
    message = b"\x00".join((b"wicketgate pseudonym 1", tenant.encode(), domain.encode(), name.encode()))
    return f"{domain}_{hmac_digest(key, message, 'sha256').hex()[:32]}"


def is_tenant(name: str) -> bool:
    """Whether `name` can be a tenant: it becomes a line of a checkpoint and a folder."""
    return PATTERNS["tenant"].fullmatch(name) is not None


def is_origin(name: str) -> bool:
    """Whether `name` can be a log's origin."""
    return PATTERNS["origin"].fullmatch(name) is not None


class _Misfit(Exception):
    """A value is not of its field's type."""


_Read = Callable[[object], Plain]


@dataclass(frozen=True, slots=True)
class _Leaf:
    read: _Read
    field: Field


_Tree = dict[str, "_Leaf | _Tree"]


def _group(tree: _Tree, value: object, path: str) -> dict[str, Plain]:
    """Check and copy an object; `path` ends in a dot, or is empty at the top."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise RecordInvalid(path[:-1] or "record", "is not an object")
    made: dict[str, Plain] = {}
    for name, inner in value.items():
        node = tree.get(name)
        if type(node) is _Leaf:
            try:
                made[name] = node.read(inner)
            except _Misfit:
                found = node.field
                kind = f"a list of {found.type}" if found.many else found.type
                raise RecordInvalid(f"{path}{name}", f"is not {kind}", HINTS.get(found.type, "")) from None
        elif node is None:
            remedy = "add it to audit/fields.py with its class"
            raise RecordInvalid(f"{path}{name}", "is not a field of the record", remedy)
        elif node is _STREAMS:
            made[name] = _streams(inner)
        elif isinstance(node, dict):
            made[name] = _group(node, inner, f"{path}{name}.")
    return made


def _streams(value: object) -> list[Plain]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_STREAMS:
        raise RecordInvalid("streams", f"is not a list of 1 to {MAX_STREAMS} places")
    places: list[Plain] = [_group(_STREAMS, place, "streams.") for place in value]
    if any(isinstance(place, dict) and len(place) != 3 for place in places):
        raise RecordInvalid("streams", "lacks a field")
    return places


def _text(name: str) -> _Read:
    match = PATTERNS[name].fullmatch

    def text(value: object) -> Plain:
        if type(value) is str and match(value):
            return value
        if isinstance(value, str) and match(value):  # an enumeration's member
            return str(value)
        raise _Misfit

    return text


def _count(value: object) -> Plain:
    if type(value) is int and 0 <= value <= canonical.MAX_INT:
        return value
    raise _Misfit


def _flag(value: object) -> Plain:
    if type(value) is bool:
        return value
    raise _Misfit


def _counts(value: object) -> Plain:
    if not isinstance(value, Mapping) or len(value) > MAX_ITEMS or not all(map(canonical.is_key, value)):
        raise _Misfit
    return {str(name): _count(number) for name, number in value.items()}


def _many(one: _Read) -> _Read:
    def several(value: object) -> Plain:
        if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS:
            raise _Misfit
        return [one(item) for item in value]

    return several


READERS: Final[Mapping[str, _Read]] = {
    **{name: _text(name) for name in PATTERNS},
    "count": _count,
    "flag": _flag,
    "counts": _counts,
}


def _subtree(tree: _Tree, name: str) -> _Tree:
    inner = tree.setdefault(name, {})
    assert isinstance(inner, dict)
    return inner


def _compile() -> _Tree:
    tree: _Tree = {}
    for path, found in FIELDS.items():
        *groups, last = path.split(".")
        at = tree
        for name in groups:
            at = _subtree(at, name)
        reader = READERS[found.type]
        at[last] = _Leaf(_many(reader) if found.many else reader, found)
    return tree


def _quick(tree: _Tree) -> _Read:
    """One reader for a whole group; what it takes, `_group` takes with the same result, and says no more than `_Misfit`."""
    matches: dict[str, Callable[[str], object]] = {}
    readers: dict[str, _Read] = {}
    for name, node in tree.items():
        if not isinstance(node, _Leaf):
            readers[name] = _quick_streams if node is _STREAMS else _quick(node)
            continue
        readers[name] = node.read
        if node.field.type in PATTERNS and not node.field.many:
            matches[name] = _SEEN[node.field.type]

    def group(value: object) -> Plain:
        if type(value) is not dict:
            raise _Misfit
        made = value.copy()
        for name, inner in value.items():
            if type(inner) is str and name in matches:
                if matches[name](inner) is None:
                    raise _Misfit
            else:
                made[name] = readers[name](inner)
        return made

    return group


def _quick_streams(value: object) -> Plain:
    try:
        return _streams(value)
    except RecordInvalid:
        raise _Misfit from None


_TREE: Final = _compile()
_STREAMS: Final[_Tree] = _subtree(_TREE, "streams")
_QUICK: Final = _quick(_TREE)
_NEEDS: Final = {name: tuple(tuple(path.split(".")) for path in kind.needs) for name, kind in KINDS.items()}
