"""Rows of ``log_use`` and ``log_party``: what the log's records add up to, and whom they are about.

Part of the index: added in the transaction that takes the records up, so that each record counts once, and made anew
with it. Sums stand in buckets of three sizes, so that a page adds up a few rows whatever the window.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.hot import Hot
from broker.store.logtables import log_party, log_use

SIZES = (300, 3_600, 86_400)
"""Seconds of a bucket; each begins at a multiple of its size (UTC)."""
COUNTS = ("actions", "writes", "refusals", "calls", "uncounted", "tokens_in", "tokens_out")
_BUCKET = ("size", "at", "who", "model")
_SEEN = ("kind", "issuer", "roles", "last_at", "last_seq")
MODEL_CALL = "llm.messages.create"
_OWN = "gate."


def _adding(statement: "sqlite.Insert | postgresql.Insert") -> Executable:
    more = {name: log_use.c[name] + statement.excluded[name] for name in COUNTS}
    return statement.on_conflict_do_update(index_elements=["tenant", *_BUCKET], set_=more)


def _meeting(statement: "sqlite.Insert | postgresql.Insert") -> Executable:
    seen = {name: statement.excluded[name] for name in _SEEN}
    return statement.on_conflict_do_update(index_elements=["tenant", "who"], set_=seen)


_ADDED = Hot(_adding(postgresql.insert(log_use)), sqlite=_adding(sqlite.insert(log_use)))
_MET = Hot(_meeting(postgresql.insert(log_party)), sqlite=_meeting(sqlite.insert(log_party)))


def add(connection: Connection, tenant: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add up new lines; the caller holds the index's lock and has checked that they follow its end."""
    sums: defaultdict[tuple[int, int, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    met: dict[str, dict[str, Any]] = {}
    for line in lines:
        model, counted = _counted(line)
        for size in SIZES if counted and line["who"] else ():
            found = sums[size, line["at"] // size * size, line["who"], model]
            for name, count in counted.items():
                found[name] += count
        if line.get("party"):
            said = (line["party"], line["issuer"], " ".join(line["roles"]), line["at"], line["seq"])
            met[line["who"]] = dict(zip(_SEEN, said, strict=True))
    if sums:
        buckets = [{"tenant": tenant, **dict(zip(_BUCKET, key, strict=True)), **sums[key]} for key in sorted(sums)]
        _ADDED.many(connection, buckets)
    if met:
        first = [
            {"tenant": tenant, "who": who, "name": "", "first_at": one["last_at"]} | one for who, one in met.items()
        ]
        _MET.many(connection, sorted(first, key=lambda one: one["who"]))


def _counted(line: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """What one record adds, and under which model; the gate's own acts are no actions of an agent."""
    if line["kind"] == "refusal":
        return "", {"refusals": 1}
    if line["kind"] == "intent" and not line["action"].startswith(_OWN):
        return "", {"actions": 1, "writes": int(line.get("access") == "write")}
    if line["kind"] == "outcome" and line["action"] == MODEL_CALL:
        taken, given = line.get("tokens_in", -1), line.get("tokens_out", -1)
        tokens = {"tokens_in": max(taken, 0), "tokens_out": max(given, 0), "uncounted": int(taken < 0)}
        return line.get("model", "") or "none", {"calls": 1, **tokens}
    return "", {}


def forget(connection: Connection, tenant: str) -> None:
    """Empty it; it is made anew with the index."""
    for table in (log_use, log_party):
        connection.execute(delete(table).where(table.c.tenant == tenant))


_SUMMED = ("at", "who", "model", *COUNTS)
_SUMS = Hot(
    select(*(log_use.c[name] for name in _SUMMED))
    .where(
        log_use.c.tenant == bindparam("t"),
        log_use.c.size == bindparam("size_"),
        log_use.c.at >= bindparam("since_"),
        log_use.c.at < bindparam("until_"),
    )
    .order_by(log_use.c.at, log_use.c.who, log_use.c.model)
)


def sums(connection: Connection, tenant: str, size: int, since: int, until: int) -> list[dict[str, Any]]:
    """Buckets of one size from ``since`` to before ``until``, oldest first: ``at``, ``who``, ``model`` and ``COUNTS``.

    Without a model: what somebody did; with one: the calls of it.
    """
    rows = _SUMS(connection, {"t": tenant, "size_": size, "since_": since, "until_": until})
    return [dict(zip(_SUMMED, row, strict=True)) for row in rows]


_NAMED = Hot(
    select(log_party.c.name).where(
        log_party.c.tenant == bindparam("t"), log_party.c.who == bindparam("w"), log_party.c.name != ""
    )
)


def unnamed(connection: Connection, tenant: str, refs: Collection[str]) -> set[str]:
    """Those of ``refs`` whose name is not kept yet."""
    return {one for one in refs if not _NAMED(connection, {"t": tenant, "w": one})}


def name(connection: Connection, tenant: str, names: Mapping[str, str]) -> None:
    """Keep the party ids behind pseudonyms."""
    for who, party in sorted(names.items()):
        here = (log_party.c.tenant == tenant, log_party.c.who == who)
        connection.execute(update(log_party).where(*here).values(name=party))


def names(connection: Connection, tenant: str) -> list[str]:
    """Party ids of everybody on record whose name is known."""
    found = select(log_party.c.name).where(log_party.c.tenant == tenant, log_party.c.name != "")
    return [str(one) for one in connection.execute(found).scalars()]


def some(connection: Connection, tenant: str, refs: Collection[str]) -> dict[str, dict[str, Any]]:
    """Parties by pseudonym, each as its newest record says."""
    found = connection.execute(select(log_party).where(log_party.c.tenant == tenant, log_party.c.who.in_(sorted(refs))))
    return {row.who: dict(row._mapping) for row in found}  # noqa: SLF001


def page(connection: Connection, tenant: str, kind: str, before: int, limit: int) -> list[dict[str, Any]]:
    """Parties of a kind (empty: any) whose newest record is before the number ``before``, newest first; one more than asked."""
    table = log_party.c
    wanted = [
        table.tenant == tenant,
        *([table.kind == kind] if kind else []),
        *([table.last_seq < before] if before >= 0 else []),
    ]
    found = connection.execute(select(log_party).where(*wanted).order_by(table.last_seq.desc()).limit(limit + 1))
    return [dict(row._mapping) for row in found]  # noqa: SLF001


def of_kind(connection: Connection, tenant: str, kind: str, after: str, limit: int) -> list[dict[str, Any]]:
    """Parties of a kind whose pseudonym follows ``after``, in the pseudonyms' order, which no new record changes."""
    table = log_party.c
    wanted = (table.tenant == tenant, table.kind == kind, table.who > after)
    found = connection.execute(select(log_party).where(*wanted).order_by(table.who).limit(limit))
    return [dict(row._mapping) for row in found]  # noqa: SLF001
