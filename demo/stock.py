"""The inventory's database: a real SQLite file, its schema, and the query that every order makes.

``stock(warehouse, sku, quantity)`` and ``reservation(id, sku, quantity, released)``. How much is free is the stock less what
is reserved, for the item and for its variants (the items whose number ends alike). With the index ``reservation_sku``
that is a look-up; without it each of the variants scans the table.

How much work a query was is counted in steps of the database's own machine, not in time: a busy computer makes a query
take long, but not do more.
"""

import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path

FILE = "inventory.db"
TABLE = "stock"
WAREHOUSE = "eu-1"
INDEXES = {"reservation_sku": ("reservation", ("sku", "released"))}
"""What the schema names: index -> table and columns."""
COUNTED_STEPS = 1000
RESERVATIONS = 30_000
FAMILIES = 5
QUERY = (
    "SELECT s.quantity - COALESCE(SUM((SELECT COALESCE(SUM(r.quantity), 0) FROM reservation r"
    " WHERE r.sku = v.sku AND r.released = 0)), 0) FROM {table} s JOIN {table} v ON v.family = s.family"
    " AND v.warehouse = s.warehouse WHERE s.warehouse = ? AND s.sku = ?"
)


def create(path: Path, seed: int) -> None:
    """Make the file with every item that is sold and its open reservations; an existing one is made anew."""
    path.unlink(missing_ok=True)
    dice = random.Random(f"stock {seed}")  # noqa: S311 - invented stock
    items = [
        (WAREHOUSE, f"sku-{number}", number % FAMILIES, dice.randrange(40_000, 90_000)) for number in range(100, 1000)
    ]
    reserved = [(f"sku-{dice.randrange(100, 1000)}", dice.randrange(1, 3), 0) for _ in range(RESERVATIONS)]
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE stock (warehouse TEXT, sku TEXT, family INTEGER, quantity INTEGER, PRIMARY KEY (warehouse, sku))"
        )
        connection.execute("CREATE INDEX stock_family ON stock (warehouse, family)")
        connection.execute(
            "CREATE TABLE reservation (id INTEGER PRIMARY KEY, sku TEXT, quantity INTEGER, released INTEGER)"
        )
        connection.executemany("INSERT INTO stock VALUES (?, ?, ?, ?)", items)
        connection.executemany("INSERT INTO reservation (sku, quantity, released) VALUES (?, ?, ?)", reserved)
        for name in INDEXES:
            connection.execute(_creation(name))
    connection.close()


def drop_index(path: Path, name: str = "reservation_sku") -> None:
    """What a careless migration does."""
    _execute(path, [f"DROP INDEX IF EXISTS {name}"])


def create_index(path: Path, name: str) -> None:
    """Create an index of the schema; raises ``KeyError`` for a name that the schema lacks."""
    _execute(path, [_creation(name)])


def compare(path: Path) -> list[dict[str, str | bool | list[str]]]:
    """Each index that the schema names, and whether the file has it."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    connection.close()
    return [
        {"index": name, "table": table, "columns": list(columns), "present": name in there}
        for name, (table, columns) in INDEXES.items()
    ]


def _creation(name: str) -> str:
    table, columns = INDEXES[name]
    return f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({', '.join(columns)})"


def _execute(path: Path, statements: Iterable[str]) -> None:
    connection = sqlite3.connect(path, timeout=10)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


class Stock:
    """One connection to the file; every thread of the service opens its own."""

    def __init__(self, path: Path, table: str) -> None:
        """``table`` comes from the service's configuration; a name that is no identifier is refused by the query."""
        self._address = f"file:{path}?mode=ro"
        self._connection = sqlite3.connect(self._address, uri=True, timeout=2)
        self._connection.execute("PRAGMA automatic_index=OFF")
        self._connection.set_progress_handler(self._counted, COUNTED_STEPS)
        self._query = QUERY.format(table=table)
        self.steps = 0
        """Work of the database so far, in its own steps, to the thousand."""

    def free(self, sku: str) -> int:
        """Pieces of ``sku`` that can be sold. Raises ``sqlite3.Error`` with the database's own text."""
        row = self._connection.execute(self._query, (WAREHOUSE, sku)).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def plan(self, sku: str) -> str:
        """How the database reads the reservations now, in its own words."""
        fresh = sqlite3.connect(self._address, uri=True, timeout=2)  # a plan that was prepared before stays as it was
        fresh.execute("PRAGMA automatic_index=OFF")
        rows = fresh.execute(f"EXPLAIN QUERY PLAN {self._query}", (WAREHOUSE, sku)).fetchall()
        fresh.close()
        return "; ".join(str(row[3]) for row in rows if str(row[3]).split()[1] == "r")

    def version(self) -> int:
        """The schema's version: changes with every change of tables and indexes."""
        return int(self._connection.execute("PRAGMA schema_version").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _counted(self) -> int:
        self.steps += COUNTED_STEPS
        return 0
