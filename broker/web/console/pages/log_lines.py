"""A line of the log as the live page and the explorer show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.web.console import words

KINDS = (
    "intent",
    "outcome",
    "refusal",
    "proposal",
    "review",
    "recovery",
    "incident",
    "policy",
    "kill",
    "resume",
    "export",
)
_LOOKS = {"permit": "good", "deny": "bad", "done": "good", "failed": "bad", "unknown": "warn", "approve": "good"}
_BAD_KINDS = ("refusal", "kill")
_PERMITTED_ONLY = {"refusal": "bad", "proposal": "warn"}
"""What policy permitted and did not happen: an obligation refused it, or people must answer first."""


@dataclass(frozen=True, slots=True)
class LineView:
    """One row. ``who`` and ``behalf`` are names where the gate knows them, else pseudonyms."""

    seq: int
    at: int
    kind: str
    who: str
    behalf: str
    action: str
    target: str
    said: str
    """Effect, end or verdict, in one word."""
    look: str
    codes: tuple[str, ...]
    tier: int
    session: str
    incident: str
    approval: str

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "LineView":
        """From a line of an answer."""
        said = line["status"] or line["effect"]
        look = _LOOKS.get(said, "bad" if line["kind"] in _BAD_KINDS else "plain")
        if said == "permit" and line["kind"] in _PERMITTED_ONLY:
            said, look = words.log.instead[line["kind"]], _PERMITTED_ONLY[line["kind"]]
        return cls(
            seq=line["seq"],
            at=line["at"],
            kind=words.log.kinds.get(line["kind"], line["kind"]),
            who=line["name"] or line["who"],
            behalf=line["behalf_name"] or line["behalf"],
            action=line["action"],
            target=line["target"] or line["resource"],
            said=said,
            look=look,
            codes=tuple(line["codes"]),
            tier=line["tier"],
            session=line["session"],
            incident=line["incident"],
            approval=line["approval"],
        )
