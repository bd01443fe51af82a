"""Rows of ``saved_view``: a person's own filters of a page of the console."""

from sqlalchemy import Connection, delete, func, select

from broker.errors import Conflict
from broker.store.logtables import saved_view
from broker.store.rows import upsert

VIEWS_MAX = 50


def save(connection: Connection, tenant: str, party: str, page: str, name: str, query: str, now_s: int) -> None:  # noqa: PLR0913, PLR0917 - one argument a column
    """Keep ``query`` under ``name``, in place of what stood there; ``Conflict`` (``views.too_many``)."""
    mine = (saved_view.c.tenant == tenant, saved_view.c.party == party, saved_view.c.page == page)
    others = select(func.count()).select_from(saved_view).where(*mine, saved_view.c.name != name)
    if connection.execute(others).scalar_one() >= VIEWS_MAX:
        raise Conflict("you keep as many views as one may", code="views.too_many", remedy="forget one first")
    values = {"at": now_s, "query": query.encode()}
    key = ["tenant", "party", "page", "name"]
    statement = upsert(connection, saved_view).values(tenant=tenant, party=party, page=page, name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values))


def forget(connection: Connection, tenant: str, party: str, page: str, name: str) -> None:
    """Keep it no more."""
    view = saved_view.c
    connection.execute(
        delete(saved_view).where(view.tenant == tenant, view.party == party, view.page == page, view.name == name)
    )


def of(connection: Connection, tenant: str, party: str, page: str) -> list[tuple[str, str]]:
    """Names and queries, by name."""
    view = saved_view.c
    mine = (view.tenant == tenant, view.party == party, view.page == page)
    rows = connection.execute(select(view.name, view.query).where(*mine).order_by(view.name))
    return [(str(row.name), bytes(row.query).decode()) for row in rows]
