"""What the tables are made of: one metadata, and a few kinds of columns."""

from sqlalchemy import BigInteger, CheckConstraint, Column, LargeBinary, MetaData, Text

metadata = MetaData()


def words(name: str, *, primary_key: bool = False) -> Column[str]:
    """Name a required text column; empty stands for none."""
    return Column(name, Text, primary_key=primary_key, nullable=False)


def big(name: str) -> Column[int]:
    """Name a required 64-bit column."""
    return Column(name, BigInteger, nullable=False)


def blob(name: str) -> Column[bytes]:
    """Name a required column of bytes."""
    return Column(name, LargeBinary, nullable=False)


def one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    """Allow only ``values`` in ``column``."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)
