"""What happens to a waiting request where nobody answers: it runs by itself, or it expires."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.web.console import words


@dataclass(frozen=True, slots=True)
class Ending:
    """In one line: ``word`` and the second at which it happens."""

    word: str
    at: int

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Ending":
        """From an approval of ``gate.approvals.read``, listed or whole."""
        box = value["time_box"]
        if box and box["ends"] == "runs":
            return cls(words.timebox.runs, box["due"])
        return cls(words.timebox.expires, value["expires_at"])


@dataclass(frozen=True, slots=True)
class BoxView:
    """The time box of a request; times in seconds since the epoch, 0 for never."""

    text: str
    look: str
    ending: Ending
    open: bool
    """Whether people can still answer."""
    rule: str
    told_at: int
    due: int
    heard_by: str
    acknowledge: bool
    """Whether an acknowledgement would count."""
    acknowledge_off: str

    @classmethod
    def of(cls, value: Mapping[str, Any], me: str) -> "BoxView | None":
        """From the answer of ``gate.approvals.read``; ``me`` is the reader. None where silence never counts."""
        box = value["time_box"]
        if not box:
            return None
        waits = value["state"] == "waiting" and box["state"] == "open"
        mine = box["acknowledged_by"] == me
        text, look = _text(value, box)
        return cls(
            text=text,
            look=look,
            ending=Ending.of(value),
            open=value["state"] == "waiting",
            rule=box["rule"],
            told_at=box["told_at"],
            due=box["due"],
            heard_by=box["acknowledged_by"],
            acknowledge=waits and bool(box["told_at"]),
            acknowledge_off=words.timebox.acknowledge_done if mine else "",
        )


def _text(value: Mapping[str, Any], box: Mapping[str, Any]) -> tuple[str, str]:
    """What is so, and how it looks."""
    say = words.timebox
    if box["state"] == "counted":
        return say.counted, "warn"
    if value["state"] != "waiting":
        return say.moot, "plain"
    if box["state"] == "void":
        return say.void.format(code=box["code"]), "plain"
    if box["ends"] == "runs":
        return say.when_runs, "warn"
    return (say.unheard.format(roles=", ".join(box["roles"])), "warn") if box["told_at"] else (say.telling, "plain")
