"""What SQLite is asked, and how much work that is, on every connection that is opened meanwhile: the gate's and the log's.

Statements come as they were run, values included, so that their plans can be looked at. Work is counted in steps of
SQLite's own machine: the same on a busy machine and on a quiet one.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import dbapi2
from typing import Any

STEPS = 50
"""SQLite tells of its work every so many steps."""
_AROUND = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA", "--")


@dataclass(slots=True)
class Asked:
    """What was asked: (database's file, statement), and the steps that it took."""

    statements: list[tuple[Path, str]] = field(default_factory=list)
    steps: int = 0


class Watch:
    """Knows every connection; see ``watched``."""

    def __init__(self) -> None:
        self._connections: list[tuple[Path, sqlite3.Connection]] = []
        self._asked: Asked | None = None

    def add(self, path: Path, connection: sqlite3.Connection) -> None:
        """Know one more."""
        self._connections.append((path, connection))
        if self._asked is not None:
            self._listen(path, connection, self._asked)

    @contextmanager
    def listening(self) -> Iterator[Asked]:
        """Note everything that is asked in the block."""
        asked = self._asked = Asked()
        for path, connection in self._connections:
            self._listen(path, connection, asked)
        try:
            yield asked
        finally:
            self._asked = None
            for _, connection in self._connections:
                self._leave(connection)

    def _listen(self, path: Path, connection: sqlite3.Connection, asked: Asked) -> None:
        def stepped() -> int:
            asked.steps += STEPS
            return 0

        def said(statement: str) -> None:
            one = (path, statement)
            # A statement with triggers is told again for each of them.
            if not statement.startswith(_AROUND) and asked.statements[-1:] != [one]:
                asked.statements.append(one)

        try:
            connection.set_trace_callback(said)
            connection.set_progress_handler(stepped, STEPS)
        except sqlite3.ProgrammingError:  # closed meanwhile
            return

    def _leave(self, connection: sqlite3.Connection) -> None:
        try:
            connection.set_trace_callback(None)
            connection.set_progress_handler(None, 0)
        except sqlite3.ProgrammingError:
            return


@contextmanager
def watched() -> Iterator[Watch]:
    """Every connection that is opened in the block is known; its statements are heard only while somebody listens."""
    real, watch = sqlite3.connect, Watch()

    def connect(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        made = real(database, *arguments, **options)
        watch.add(Path(database), made)
        return made

    sqlite3.connect = dbapi2.connect = connect  # type: ignore[assignment]
    try:
        yield watch
    finally:
        sqlite3.connect = dbapi2.connect = real


def plan(path: Path, statement: str, *, attached: Sequence[Path] = ()) -> list[str]:
    """How SQLite goes about a statement, a line a step (EXPLAIN QUERY PLAN)."""
    with sqlite3.connect(path) as connection:
        for one in attached:
            connection.execute("ATTACH DATABASE ? AS counters", (str(one),))
        lines = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    connection.close()
    return lines
