"""The table of time boxes; the rules of ``tables.py`` hold here, too."""

from sqlalchemy import ForeignKeyConstraint, Index, Table

from broker.store.columns import big as _big
from broker.store.columns import blob as _blob
from broker.store.columns import metadata
from broker.store.columns import one_of as _one_of
from broker.store.columns import words as _text

time_box = Table(
    "time_box",
    metadata,
    _text("tenant", primary_key=True),
    _text("proposal", primary_key=True),
    _text("rule"),
    _big("seconds"),
    _big("per_day"),
    _blob("acknowledge"),
    _text("state"),
    _blob("told"),
    _big("told_at"),
    _big("due"),
    _text("acknowledged_by"),
    _blob("acknowledged_roles"),
    _big("acknowledged_at"),
    _text("code"),
    _big("opened_at"),
    _big("changed_at"),
    _one_of("state", ("open", "counted", "void"), "time_box_state"),
    ForeignKeyConstraint(["tenant", "proposal"], ["proposal.tenant", "proposal.id"], name="time_box_of_proposal"),
    Index("time_box_counted", "tenant", "state", "changed_at"),
)
"""When silence counts as the answer to a proposal, and who was told and said so; ``due`` is compared at use."""
