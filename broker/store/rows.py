"""What the query files share: ids, JSON as bytes, and the pages of a list."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from broker.errors import BadRequest
from broker.model import Json

T = TypeVar("T")
EVERY_TENANT = "*"
"""Stands in the tenant column where a row concerns all tenants; no tenant may be called so."""


def new_id(prefix: str) -> str:
    """Return a fresh id, e.g. ``apr_`` and 26 characters of base32 over 128 random bits."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def pack(value: Json) -> bytes:
    """Write JSON as bytes with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def unpack(value: bytes) -> Json:
    """Read what ``pack`` wrote."""
    return orjson.loads(value)


def lock(connection: Connection, *words: str) -> None:
    """Let one transaction at a time pass for these words, until it ends (SQLite has one writer anyhow)."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("\n".join(words), 0))))


def upsert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Start an INSERT that may say ``on_conflict_…``, in the dialect of ``connection``."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``after`` asks for the next one, empty at the end."""

    items: tuple[T, ...]
    after: str = ""


Place = tuple[int | str, ...]
"""Where a row stands in its list; places are ordered as the list is."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a list is wanted: its end, or what stands next ``before`` or ``after`` a place; in rows and in bytes."""

    limit: int
    bytes: int
    before: Place = ()
    after: Place = ()


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Rows that stand together, in order; ``before`` and ``after`` ask for what stands beyond, empty where nothing does."""

    items: tuple[T, ...]
    before: Place = ()
    after: Place = ()
    bytes: int = 0


def within(sizes: Sequence[tuple[Place, int]], most: int) -> Sequence[tuple[Place, int]]:
    """Those that fit into ``most`` bytes together, from the first on; the first is taken whatever its size."""
    total = 0
    for taken, (_, size) in enumerate(sizes):
        total += size
        if taken and total > most:
            return sizes[:taken]
    return sizes


def cursor(at: int, row_id: str) -> str:
    """Write the place after a row of a list that is ordered by time and id."""
    return f"{at}.{row_id}"


def place(after: str) -> tuple[int, str]:
    """Read a ``cursor``; raises ``BadRequest`` for anything else."""
    at, dot, row_id = after.partition(".")
    if not dot or not at.isascii() or not at.isdigit() or len(at) > 12 or not row_id.isascii() or len(row_id) > 64:
        raise BadRequest("field `after` is not a place in this list", code="request.after", remedy="leave `after` out")
    return int(at), row_id
