"""What the gate's own rows say of a request's time box: ``context.time_box`` of policy's input."""

from broker.model import Json
from broker.store import Connection, parties, timeboxes
from broker.store import approvals as proposal_rows


def box_facts(connection: Connection, tenant: str, action_id: str, now: int, *, silent: bool) -> dict[str, Json]:
    """The facts at ``now`` (seconds); ``silent`` asks as if silence were to count, which it may have done already.

    Who acknowledged has no more roles than their latest sign-in said.
    """
    found = proposal_rows.of_action(connection, tenant, action_id)
    box = found.box if found else None
    today = timeboxes.counted_today(connection, tenant, now, box.proposal if box else "")
    if box is None:
        return {"counts": silent, "told": False, "acknowledged": [], "over": False, "today": today}
    latest = parties.roles_of(connection, tenant, [box.acknowledged_by]) if box.acknowledged_by else {}
    held = frozenset(box.acknowledged_roles) & latest.get(box.acknowledged_by, frozenset(box.acknowledged_roles))
    return {
        "counts": silent or (box.state == "counted" and found is not None and found.state != "waiting"),
        "told": box.told_at > 0,
        "acknowledged": sorted(held),
        "over": 0 < box.due <= now,
        "today": today,
    }
