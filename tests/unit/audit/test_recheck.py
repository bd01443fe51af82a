"""A store whose convenient columns were edited is found out."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from audit.ledger import Check, Verdict
from audit.recheck import recheck
from audit.sqlite import SqliteStore
from audit.store import Session, Store
from tests.unit.audit.room import ORIGIN, TENANT, intent, open_log, outcome

Connect = Callable[[Store], Session]


def fill(store: Store, folder: Path) -> None:
    async def main() -> None:
        log = open_log(store, folder)
        await log.start()
        for number in range(300):
            await log.append(TENANT, intent(f"ev-{number}"))
        await log.append(TENANT, outcome("out-0", "ev-0"))
        await log.aclose()

    asyncio.run(main())


def indexes(session: Session) -> Check:
    return next(check for check in recheck(session, ORIGIN) if check.name == "indexes")


def test_an_honest_store_agrees_with_itself(store: Store, tmp_path: Path, connect: Connect) -> None:
    fill(store, tmp_path)
    checks = recheck(connect(store), ORIGIN)
    assert {check.name: check.verdict for check in checks} == {
        "indexes": Verdict.OK,
        "canonical": Verdict.OK,
        "chain": Verdict.OK,
        "streams": Verdict.OK,
        "intents": Verdict.ATTENTION,
        "signatures": Verdict.OK,
        "payloads": Verdict.OK,
    }


@pytest.mark.parametrize(
    ("sql", "record"),
    [
        ("UPDATE audit_entry SET kind = 'refusal' WHERE seq = 7", 7),
        ("UPDATE audit_entry SET about = 'ev-9' WHERE seq = 7", 7),
        ("UPDATE audit_entry SET time_ns = 5 WHERE seq = 7", 7),
        ("UPDATE audit_entry SET event_id = 'ev-x' WHERE seq = 7", 7),
        ("UPDATE audit_entry SET leaf = zeroblob(32) WHERE seq = 7", 7),
        (
            "UPDATE audit_entry SET body = CAST(replace(CAST(body AS TEXT), 'permit', 'denied') AS BLOB) WHERE seq = 7",
            7,
        ),
        ("DELETE FROM audit_entry WHERE seq = 7", 7),
        ("DELETE FROM audit_entry WHERE seq = 300", 300),
        ("UPDATE audit_node SET hash = zeroblob(32)", None),
        ("UPDATE audit_stream SET stream = 'ses_9' WHERE seq = 7", None),
        ("DELETE FROM audit_stream WHERE seq = 7", None),
        ("DELETE FROM audit_open WHERE event_id = 'ev-7'", None),
        ("INSERT INTO audit_open VALUES ('example.org/audit/default', 'ev-0', 0)", None),
    ],
)
def test_an_edited_column_is_found(tmp_path: Path, connect: Connect, sql: str, record: int | None) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    fill(store, tmp_path)
    session = connect(store)
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        assert raw.execute(sql).rowcount > 0
    check = indexes(session)
    assert (check.verdict, check.record) == (Verdict.FAILED, record)
