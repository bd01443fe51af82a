"""Statements of the hot path. On SQLite their text and values go straight to the driver.

SQLAlchemy's way around a statement costs some ten times what SQLite needs for an indexed row. The statement is still
written in SQLAlchemy's language, and PostgreSQL gets it the usual way.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.sql.compiler import SQLCompiler


class Hot:
    """One statement with bind parameters by name; called with a connection and the values, it gives the rows."""

    def __init__(self, statement: Executable, *, sqlite: Executable | None = None) -> None:
        """``sqlite`` is the statement for SQLite where the two databases need different ones."""
        self._statement = statement
        self._sqlite = statement if sqlite is None else sqlite
        self._text = ""
        self._names: Sequence[str] = ()
        self._fixed: dict[str, Any] = {}

    def __call__(self, connection: Connection, values: dict[str, Any]) -> Sequence[Any]:
        """Rows as plain tuples in the order of the statement's columns; flags may be 0 and 1."""
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, values)
            return result.all() if result.returns_rows else ()
        driver: Any = self._driver(connection)
        whole = self._fixed | values
        return driver.execute(self._text, [whole[name] for name in self._names]).fetchall()  # type: ignore[no-any-return]

    def many(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Run it for each of ``rows``, which all name the same values."""
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, rows)
            return
        driver: Any = self._driver(connection)
        driver.executemany(self._text, [[row[name] for name in self._names] for row in rows])

    def _driver(self, connection: Connection) -> Any:
        """The driver's own connection, with the statement's text at hand."""
        if not self._text:
            self._compile(connection)
        return connection.connection.dbapi_connection

    def _compile(self, connection: Connection) -> None:
        compiled = self._sqlite.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        self._fixed, self._names, self._text = dict(compiled.params), compiled.positiontup, str(compiled)
