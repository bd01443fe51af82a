"""Exit codes, and how a failure is told: ``error: …`` and ``remedy: …`` on standard error.

0 ok, 1 error, 2 usage, 3 not authenticated, 4 unreachable, 5 denied by policy, 6 waiting for approval,
7 verification failed. Click answers usage errors itself.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

OK, ERROR, USAGE, NOT_AUTHENTICATED, UNREACHABLE, DENIED, WAITING, UNVERIFIED = range(8)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told, and the code with which the program ends."""

    code: int
    text: str
    remedy: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)
    """What a program reads of it: the gate's own words where it spoke."""

    def tell(self, *, as_json: bool) -> None:
        """Two lines on standard error; with ``as_json`` one object on standard output, too."""
        if as_json:
            click.echo(json.dumps({"status": "error", "detail": self.text, "remedy": self.remedy, **self.said}))
        click.echo(f"error: {self.text}", err=True)
        if self.remedy:
            click.echo(f"remedy: {self.remedy}", err=True)


class Stop(Exception):
    """A command cannot go on; carries what to tell."""

    def __init__(self, text: str, remedy: str = "", code: int = ERROR) -> None:
        super().__init__(text)
        self.failure = Failure(code, text, remedy)


def read(error: Exception) -> Failure | None:
    """The failure that ``error`` stands for; None for one that is a fault of ours."""
    from audit.errors import AuditError
    from broker.errors import BrokerError, Denied, Unauthenticated

    if isinstance(error, Stop):
        return error.failure
    if isinstance(error, BrokerError):
        code = NOT_AUTHENTICATED if isinstance(error, Unauthenticated) else ERROR
        code = DENIED if isinstance(error, Denied) else code
        return Failure(code, error.detail, error.error_remedy, {"code": error.error_code})
    if isinstance(error, AuditError):
        return Failure(ERROR, str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure(ERROR, f"{where}{error.strerror or error}")
    return _of_client(error) if "wicketgate.errors" in sys.modules else None


def _of_client(error: Exception) -> Failure | None:
    """What the gate answered, as the client library raised it."""
    from wicketgate import ApprovalPending, Denied, GateError, LimitExceeded, NotAuthenticated, Unreachable

    if not isinstance(error, GateError):
        return None
    codes = (
        (NotAuthenticated, NOT_AUTHENTICATED),
        (Unreachable, UNREACHABLE),
        (Denied, DENIED),
        (LimitExceeded, DENIED),
        (ApprovalPending, WAITING),
    )
    code = next((code for kind, code in codes if isinstance(error, kind)), ERROR)
    more = [reason.code for reason in error.reasons if reason.code != error.code]
    also = f" (also: {', '.join(more)})" if more else ""
    return Failure(code, f"{error.code}: {error.detail}{also}", error.remedy, _said(error))


def _said(error: Any) -> Mapping[str, Any]:
    """The gate's refusal as an object: code, reasons, decision, receipt; for a waiting action what it waits for."""
    problem = error.problem.model_dump(mode="json", exclude={"type", "title", "status"})
    said = {"status": "refused" if error.status else "unreachable", **problem}
    if action := getattr(error, "action_id", ""):
        said["action_id"] = action
    if (approval := getattr(error, "approval", None)) is not None:
        said |= {"status": "waiting", "approval": approval.model_dump(mode="json")}
    if outcome := getattr(error, "outcome", ""):
        said |= {"status": outcome, "result": error.result}
    return said
