"""Alertmanager's webhook, version 4: from its body to the alerts that it reports.

Format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. Newer versions add keys, so unknown
ones are ignored; what is read is typed. Which labels name the service, the environment and the severity is
configuration. Nothing here is believed: which labels are safe is configuration, too, and all else stays untrusted text.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.config import IncidentSettings
from broker.errors import BadRequest
from broker.model import Json

ALERTS_MAX = 64
"""Alerts of one call; Alertmanager's `max_alerts` keeps to it."""
UNKNOWN = "unknown"
_SEVERITIES = {
    "critical": "critical",
    "page": "critical",
    "high": "high",
    "error": "high",
    "warning": "warning",
    "warn": "warning",
    "info": "info",
    "none": "info",
}
_LABELS = Annotated[dict[str, str], Field(max_length=64)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Alert(_Read):
    status: Literal["firing", "resolved"]
    labels: _LABELS
    annotations: _LABELS = Field(default_factory=dict)
    starts_at: str = Field(alias="startsAt", max_length=64)
    ends_at: str = Field(default="", alias="endsAt", max_length=64)
    fingerprint: str = Field(pattern="^[0-9a-f]{1,64}$")


class _Webhook(_Read):
    version: Literal["4"]
    receiver: str = Field(default="", max_length=128)
    alerts: list[_Alert] = Field(min_length=1, max_length=ALERTS_MAX)
    truncated: int = Field(default=0, alias="truncatedAlerts", ge=0, le=1_000_000)


def read(body: Mapping[str, Json], settings: IncidentSettings) -> Sequence[dict[str, Any]]:
    """The alerts of one call as arguments of ``gate.incidents.receive``; raises ``BadRequest`` that names the field.

    A group whose alerts were cut off by Alertmanager (``truncatedAlerts``) says so in each: what is missing is not
    nothing.
    """
    try:
        read = _Webhook.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise BadRequest(
            f"field `{where}`: {first['msg'][:1].lower()}{first['msg'][1:]}",
            code="alert.form",
            remedy=f"send Alertmanager's webhook version 4 with at most {ALERTS_MAX} alerts (max_alerts)",
        ) from None
    return [_arguments(alert, read, settings) for alert in read.alerts]


def _arguments(alert: _Alert, webhook: _Webhook, settings: IncidentSettings) -> dict[str, Any]:
    labels = {name[:128]: value[:1024] for name, value in alert.labels.items() if name}
    annotations = {name[:128]: value[:4096] for name, value in alert.annotations.items() if name}
    title = annotations.get("summary") or labels.get("alertname") or "alert without a name"
    return {
        "fingerprint": alert.fingerprint,
        "title": title[:512],
        "service": _first(labels, settings.service_labels, UNKNOWN)[:256],
        "env": _first(labels, settings.env_labels, settings.default_env)[:64],
        "severity": _SEVERITIES.get(_first(labels, settings.severity_labels, "").lower(), "warning"),
        "status": alert.status,
        "starts_at": _instant(alert.starts_at, "startsAt"),
        "ends_at": _instant(alert.ends_at, "endsAt") if alert.ends_at and alert.status == "resolved" else 0,
        "labels": labels,
        "annotations": annotations,
        "source": f"alertmanager:{webhook.receiver}"[:256],
        "truncated": webhook.truncated,
    }


def _first(labels: Mapping[str, str], names: Sequence[str], otherwise: str) -> str:
    """The first of ``names`` that has a value."""
    return next((labels[name] for name in names if labels.get(name)), otherwise)


def _instant(text: str, field: str) -> int:
    """RFC 3339 as seconds since the epoch; Go's zero time (year 1) is 0."""
    try:
        at = datetime.fromisoformat(text)
        return 0 if at.year <= 1 else max(0, int(at.timestamp()))
    except (ValueError, OverflowError):
        raise BadRequest(f"field `{field}` is no RFC 3339 time", code="alert.form") from None
