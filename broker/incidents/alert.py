"""An alert as the gate takes it: what is safe and what is anybody's text, and its bounds.

Who sends it has redacted ``title``, ``labels`` and ``annotations``: they are kept, shown to agents, and recorded.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import orjson

from broker.errors import BadRequest
from broker.model import Intent, Json

SEVERITY: Mapping[str, int] = {"info": 1, "warning": 2, "high": 3, "critical": 4}
LABELS_MAX = 64
VALUE_CHARS_MAX = 2_048
TITLE_CHARS_MAX = 512
AHEAD_S = 300
OWN = "gate:"
"""Begins the fingerprints of what the gate itself reports."""
_NAMES = {"fingerprint": 128, "service": 256, "env": 64, "source": 256}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a monitoring system, or one that a person or a program reported."""

    fingerprint: str
    title: str
    service: str
    env: str
    severity: str
    """``critical``, ``high``, ``warning`` or ``info``."""
    status: str
    """``firing`` or ``resolved``."""
    starts_at: int
    """When it began; 0 where it does not say."""
    ends_at: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    truncated: int = 0
    """How many alerts of its group the sender left out."""
    trusted: Mapping[str, str] = field(default_factory=dict)
    """Fields that configuration marks safe; every other text is untrusted."""
    sender: str = ""
    """The party that sent it: only the same sender's word ends what it began."""
    said_at: int = 0
    """Its beginning as it came in; 0 where it names none. ``starts_at`` and ``order`` are within the gate's own time."""
    order: int = 0
    """Its place among the times that this alert fired."""

    @property
    def origin(self) -> tuple[str, str]:
        """Who speaks."""
        return self.sender, self.source

    @property
    def level(self) -> int:
        """Severity as a number, 1 to 4."""
        return SEVERITY[self.severity]

    def as_json(self) -> dict[str, Json]:
        """What an incident keeps of it."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in asdict(self).items()
            if name not in {"fingerprint", "title", "service", "env"}
        }


def fingerprint_of(title: str, service: str, env: str, labels: Mapping[str, str]) -> str:
    """Name an alert that came without a fingerprint: the same words are the same alert."""
    words = orjson.dumps([title, service, env, dict(labels)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(words).hexdigest()[:32]


def bounded(alert: Alert, now_s: int, past_s: int) -> tuple[Alert, list[str]]:
    """Return the alert within the bounds, and the names of the texts that were cut.

    Names that something hangs on are not cut: one that is empty, too long or unknown raises ``BadRequest``. Times are
    moved to where an alert can be: ``past_s`` back, ``AHEAD_S`` ahead; ``said_at`` keeps what the sender said.
    """
    for name, most in _NAMES.items():
        value = getattr(alert, name)
        if len(value) > most or (not value and name != "source") or not value.isprintable():
            raise _wrong(name, f"must have 1 to {most} printable characters")
    if alert.severity not in SEVERITY:
        raise _wrong("severity", f"must be one of {', '.join(sorted(SEVERITY))}")
    if alert.status not in {"firing", "resolved"}:
        raise _wrong("status", "must be firing or resolved")
    if alert.fingerprint.startswith(OWN):
        raise _wrong("fingerprint", f"must not begin with `{OWN}`: that is the gate's own")
    if alert.truncated < 0 or alert.starts_at < 0:
        raise _wrong("starts_at", "and `truncated` must not be negative")
    cut: list[str] = []
    whole = replace(
        alert,
        title=_short(alert.title, TITLE_CHARS_MAX, "title", cut) or "alert without a name",
        labels=_few(alert.labels, "labels", cut),
        annotations=_few(alert.annotations, "annotations", cut),
        trusted=_few(alert.trusted, "trusted", cut),
        said_at=alert.starts_at,
        order=min(alert.starts_at, now_s + AHEAD_S),
        starts_at=alert.starts_at and within(alert.starts_at, now_s, past_s),
        ends_at=alert.ends_at and within(alert.ends_at, now_s, past_s),
    )
    return whole, cut


def within(at: int, now_s: int, past_s: int) -> int:
    """The nearest instant to ``at`` that an alert of now can name."""
    return min(max(at, now_s - past_s), now_s + AHEAD_S)


def intent(alert: Alert) -> tuple[Intent, ...]:
    """What the incident's session is for: the safe fields, and apart from them what anybody may have written."""
    safe = dict(alert.trusted)
    texts: dict[str, Json] = {"title": alert.title, "service": alert.service, "env": alert.env}
    texts |= {f"labels.{name}": value for name, value in alert.labels.items()}
    texts |= {f"annotations.{name}": value for name, value in alert.annotations.items()}
    rest = {name: value for name, value in texts.items() if safe.get(name.removeprefix("labels.")) != value}
    source = alert.source or "alert"
    pieces = ((safe, True), (rest, False))
    return tuple(
        Intent("alert", orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode(), source, "", trusted)
        for said, trusted in pieces
        if said
    )


def _short(text: str, most: int, name: str, cut: list[str]) -> str:
    """At most ``most`` characters."""
    if len(text) > most:
        cut.append(name)
    return text[:most]


def _few(texts: Mapping[str, str], name: str, cut: list[str]) -> dict[str, str]:
    """At most ``LABELS_MAX`` texts, each bounded."""
    if len(texts) > LABELS_MAX:
        cut.append(name)
    return {
        key[:128]: _short(texts[key], VALUE_CHARS_MAX, f"{name}.{key[:64]}", cut) for key in sorted(texts)[:LABELS_MAX]
    }


def _wrong(name: str, rule: str) -> BadRequest:
    """Build the answer to a field that cannot be taken."""
    return BadRequest(f"field `{name}` {rule}", code="alert.field")
