"""Rows of ``login``: who is signed in to the console, under the hash of the cookie's value."""

from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from broker.model import Json
from broker.store.hot import Hot
from broker.store.rows import pack, unpack
from broker.store.tables import login

KEPT_SECONDS = 86_400
"""For so long after its end a row stays, to say why a cookie holds no more."""


@dataclass(frozen=True, slots=True)
class Login:
    """One person's sign-in with one browser. Times in seconds; ``principal`` as JSON, without the token."""

    tenant: str
    id: str
    issuer: str
    subject: str
    sid: str
    principal: dict[str, Json]
    opened_at: int
    used_at: int
    expires_at: int
    closed_at: int | None = None


_NAMES = tuple(column.name for column in login.columns)
_FIND = Hot(select(login).where(login.c.id == bindparam("id_")))


def find(connection: Connection, login_id: str) -> Login | None:
    """Return the row under this hash, whatever its tenant: whoever knows the cookie's value is that person."""
    for row in _FIND(connection, {"id_": login_id}):
        found = dict(zip(_NAMES, row, strict=True))
        return Login(**found | {"principal": unpack(found["principal"])})
    return None


def open_(connection: Connection, new: Login, *, instead_of: str = "") -> None:
    """Write a new row; closes ``instead_of`` in the same transaction, and drops rows that ended a day ago."""
    connection.execute(delete(login).where(login.c.expires_at < new.opened_at - KEPT_SECONDS))
    if instead_of:
        close(connection, instead_of, new.opened_at)
    values = {name: getattr(new, name) for name in Login.__slots__}
    connection.execute(insert(login).values({**values, "principal": pack(new.principal)}))


def touch(connection: Connection, login_id: str, now_s: int) -> None:
    """Note that it was used; never back in time, and never once it is closed."""
    connection.execute(
        update(login)
        .where(login.c.id == login_id, login.c.used_at < now_s, login.c.closed_at.is_(None))
        .values(used_at=now_s)
    )


def close(connection: Connection, login_id: str, now_s: int) -> bool:
    """End one; False where it was over."""
    done = connection.execute(
        update(login).where(login.c.id == login_id, login.c.closed_at.is_(None)).values(closed_at=now_s)
    )
    return done.rowcount == 1


def close_all(connection: Connection, issuer: str, *, subject: str = "", sid: str = "", now_s: int) -> int:
    """End those of the provider's session ``sid``, or of the person where no session is named; how many there were."""
    if not (subject or sid):
        return 0
    # A provider may name both: then the session counts, and the person must be its own.
    named = and_(*([login.c.sid == sid] if sid else []), *([login.c.subject == subject] if subject else []))
    done = connection.execute(
        update(login).where(login.c.issuer == issuer, named, login.c.closed_at.is_(None)).values(closed_at=now_s)
    )
    return done.rowcount
