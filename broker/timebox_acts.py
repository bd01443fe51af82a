"""The gate's own act about time boxes: a person on call acknowledges that a request may run by itself."""

from collections.abc import Mapping
from typing import Any

from broker.answers import brief
from broker.approvals import Boxes
from broker.model import Json, Principal
from broker.records import Records


class TimeBoxActs:
    """Acknowledgements."""

    def __init__(self, *, boxes: Boxes, records: Records) -> None:
        """``boxes`` checks who may; ``records`` puts it down."""
        self._boxes = boxes
        self._records = records
        self.acts = {"gate.review.acknowledge": self._acknowledge}

    async def _acknowledge(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """Store that the notice was seen; it approves nothing, and whoever may review may still deny.

        On record before it counts as heard: silence never counts on the word of somebody who is not in the log.
        """
        proposal = await self._boxes.may_acknowledge(principal, arguments["approval"], arguments["digest"])
        await self._records.review(
            principal,
            approval=proposal.id,
            about=f"{proposal.id}.proposal",
            digest=proposal.digest,
            verdict="acknowledge",
            given=0,
            quorum=proposal.quorum,
            session=proposal.session,
            reason=arguments["reason"],
        )
        return {"approval": brief(await self._boxes.acknowledge(principal, proposal.id, proposal.digest))}
