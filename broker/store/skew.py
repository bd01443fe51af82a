"""What time the database has."""

from sqlalchemy import Connection


def database_time(connection: Connection) -> float | None:
    """Seconds since the epoch by the database's own clock; None where it has none of its own."""
    if connection.dialect.name == "sqlite":
        return None
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
