"""Time boxes: the rows, the act of acknowledging, and the work that tells people and comes back at the end."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from broker.approvals import Boxes
from broker.model import Json, Principal
from broker.timebox_acts import TimeBoxActs
from broker.timeboxes import TimeBoxes
from broker.work import Claimed

if TYPE_CHECKING:
    from broker.wiring.gate import Wiring

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]


def acknowledging(gate: "Wiring") -> Mapping[str, Act]:
    """The act, by its name."""
    return TimeBoxActs(boxes=Boxes(gate.store, gate.clock), records=gate.records).acts


def boxing(gate: "Wiring") -> Mapping[str, Callable[[Claimed], Awaitable[None]]]:
    """The kind of work, with its step."""
    boxes = TimeBoxes(
        pipeline=gate.pipeline,
        approvals=gate.approvals,
        boxes=Boxes(gate.store, gate.clock),
        approved=gate.approved,
        incidents=gate.incidents,
        sessions=gate.sessions,
        records=gate.records,
        notices=gate.notices,
        work=gate.work,
        clock=gate.clock,
        telemetry=gate.telemetry,
        receivers=gate.settings.incidents.notify,
        url=gate.settings.url,
    )
    return {"time_box": boxes.step}
