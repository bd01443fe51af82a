"""What the agent does, told as it happens: one JSON object a line on standard output.

``{"event": …, "step": n, …}`` with the events

- ``step``: ``title`` of what begins now
- ``asked``: ``action``, ``resource`` (``type:id@env``), ``arguments``
- ``decided``: ``verdict`` (``permit``, ``refuse`` or ``wait``), ``tier``, ``code``, ``remedy``
- ``redacted``: ``counts`` by entity, as they stand in what came back
- ``recorded``: ``log``, ``seq``, ``leaf`` of the receipt
- ``approval``: ``id``, ``digest``, ``quorum`` of what a person must answer
- ``said``: ``text`` of the model, ``uses`` of tools, tokens; ``note``: ``text`` of the agent

and of the worker

- ``claimed``: ``incident``, ``state``, ``session``; ``finished``: ``to`` and the ``body`` of the step; ``lost``: somebody else has it
- ``found``: what the rules came to; ``hypotheses`` of the model; ``judged``: ``verdict`` of the gate, ``claims`` each with its own
- ``model_failed``: ``code``; ``remedy``: what is asked for; ``failed``: ``code``, and it is tried again; ``stopped``

Nothing here is a secret: the agent never saw one.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from wicketgate import Approval, ApprovalPending, Decision, Done, GateError, Receipt

Json = Any

_MARK = re.compile(r"\b([A-Z]{2,12})_[0-9A-HJKMNP-TV-Z_]{10,}\b|\[(SECRET|UNSCANNED):[^\]]{1,40}\]")


class Teller:
    """Writes events; ``told`` is a ``wicketgate`` observer."""

    def __init__(self, out: IO[str] = sys.stdout) -> None:
        """``out`` is flushed after each event."""
        self._out = out
        self._step = 0

    def step(self, title: str) -> None:
        """A new step begins."""
        self._step += 1
        self.tell("step", title=title)

    def tell(self, event: str, **fields: Json) -> None:
        """Write one event."""
        self._out.write(json.dumps({"event": event, "step": self._step, **fields}, ensure_ascii=False) + "\n")
        self._out.flush()

    def told(self, request: Mapping[str, Json], answer: Done | GateError | None) -> None:
        """One action on its way out (``answer`` is None), or its answer."""
        if answer is None:
            resource = request["resource"]
            where = f"{resource['type']}:{resource['id']}@{resource['env']}"
            self.tell("asked", action=request["action"], resource=where, arguments=request["arguments"])
        elif isinstance(answer, Done):
            self.permitted(answer.decision)
            self.redacted(answer.result)
            self.recorded(answer.receipt)
        else:
            self.refused(answer)

    def permitted(self, decision: Decision | None) -> None:
        """Policy permitted it, and it was done."""
        self.tell("decided", verdict="permit", tier=decision.tier if decision else 0, code="", remedy="")

    def refused(self, error: GateError) -> None:
        """It was refused, or has to wait for a person."""
        if isinstance(error, ApprovalPending):
            tier = error.decision.tier if error.decision else None
            self.tell("decided", verdict="wait", tier=tier, code=error.code, remedy=error.remedy)
        else:
            self.tell("decided", verdict="refuse", tier=None, code=error.code, remedy=error.remedy)
        self.recorded(error.receipt)

    def approval(self, approval: Approval) -> None:
        """A person must answer now."""
        self.tell("approval", id=approval.id, digest=approval.digest, quorum=approval.quorum)

    def redacted(self, value: Json) -> None:
        """Count the marks that redaction left in ``value``."""
        counts = marks(value)
        if counts:
            self.tell("redacted", counts=dict(counts))

    def recorded(self, receipt: Receipt | None) -> None:
        """Where it stands in the log."""
        if receipt is not None:
            self.tell("recorded", log=receipt.log, seq=receipt.seq, leaf=receipt.leaf)


def marks(value: Json) -> Counter[str]:
    """Pseudonyms and removed secrets in ``value``, counted by entity."""
    text = json.dumps(value, ensure_ascii=False)
    return Counter(found[1] or found[2] for found in _MARK.finditer(text))
