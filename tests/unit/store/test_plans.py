"""On PostgreSQL, too, the queries behind the console's lists go by index, among the rows of two tenants.

What SQLite does, ``tests/e2e/console/test_many_records.py`` sees at whole pages.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from broker.store import Connection, Store, approvals, exports, incidents, logindex, logusage, sessions
from broker.store.logindex import Sought
from tests.bench.filled import FAR, START, TENANT, Each, rows_beside
from tests.bench.log_search import SEARCHES
from tests.stores import open_store
from tests.unit.logbook.test_index import lines_of

ROWS = 3_000
FOR_FEW = ("seqscan", "bitmapscan", "hashjoin", "mergejoin")
"""Ways that are quick among few rows, and that nobody takes among a million where an index leads to some of them."""
GROWING = {"log_line", "log_code", "log_use", "proposal", "incident", "session", "work", "log_export"}
LISTS: dict[str, Callable[[Connection], object]] = {
    **{
        f"search: {name}": partial(logindex.page, tenant=TENANT, sought=Sought(**{"since": 1, **said}), limit=50)
        for name, said in SEARCHES.items()
    },
    "an older page": partial(logindex.page, tenant=TENANT, sought=Sought(own=False), before=ROWS // 2, limit=50),
    "inbox": partial(approvals.page, tenant=TENANT, states=("waiting",), limit=50),
    "approvals that are over": partial(approvals.page, tenant=TENANT, states=("denied",), limit=50),
    "their next page": partial(
        approvals.page, tenant=TENANT, states=("denied",), limit=50, after=f"{START + 99}.apr_000099"
    ),
    "incidents": partial(incidents.page, tenant=TENANT, states=(), limit=50),
    "their older page": partial(incidents.page, tenant=TENANT, states=(), limit=50, after=f"{START + 99}.inc_0099"),
    "incidents of a state": partial(incidents.page, tenant=TENANT, states=("closed",), limit=50),
    "exports": partial(exports.page, tenant=TENANT, limit=50),
    "usage": partial(logusage.sums, tenant=TENANT, size=300, since=START, until=START + 3_600),
    "taint": partial(sessions.is_settled, tenant=TENANT, session_id="", party="dev:agent-1", now_s=FAR + 1),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan: what it reads, how, by which condition; and whether the plan sorts what it found."""

    table: str
    kind: str
    condition: str
    sorts: bool


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A database in which the planner has something to choose."""
    store = open_store("postgresql", tmp_path_factory.mktemp("plans"))

    def fill(connection: Connection) -> None:
        for tenant in (TENANT, "other"):
            for first in range(0, ROWS, 1_000):
                assert logindex.add(connection, tenant, LINES[first : first + 1_000])
        rows_beside(connection, range(ROWS), Each(approval=10, incident=10, session=10, export=25))

    asyncio.run(store.write(fill))
    asyncio.run(store.write(lambda c: c.execute(text("ANALYZE"))))
    yield store
    store.close()


LINES = lines_of(ROWS)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_goes_by_index(full: Store, name: str) -> None:
    asked: list[tuple[str, Any]] = []

    def noted(_connection: object, _cursor: object, statement: str, values: Any, *_more: object) -> None:
        asked.append((statement, values))

    def planned(connection: Connection) -> list[tuple[str, list[Step]]]:
        event.listen(Engine, "before_cursor_execute", noted)
        try:
            LISTS[name](connection)
        finally:
            event.remove(Engine, "before_cursor_execute", noted)
        for way in FOR_FEW:
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        return [(statement, _plan(connection, statement, values)) for statement, values in asked]

    found = asyncio.run(full.read(planned))
    assert {step.table for _, steps in found for step in steps} & GROWING
    for statement, steps in found:
        for step in steps:
            told = f"{step}\n{statement}"
            if step.table not in GROWING:
                continue
            assert step.kind != "Seq Scan", told
            whole = step.condition.count("=") + step.condition.count("<") + step.condition.count(">") <= 1
            bounded = not step.sorts and "LIMIT" in statement
            assert not whole or bounded, told


def _plan(connection: Connection, statement: str, values: Any) -> list[Step]:
    """What the database would do."""
    answer = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    return list(_steps(answer[0]["Plan"], sorts=False))


def _steps(node: dict[str, Any], *, sorts: bool) -> Iterator[Step]:
    sorts = sorts or node["Node Type"] in {"Sort", "Incremental Sort"}
    if "Relation Name" in node:
        condition = node.get("Index Cond") or node.get("Recheck Cond") or ""
        yield Step(node["Relation Name"], node["Node Type"], condition, sorts)
    for child in node.get("Plans", ()):
        yield from _steps(child, sorts=sorts)
