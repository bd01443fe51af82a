"""Alertmanager's webhook: what it says is read strictly, what it adds is ignored, what it left out is said."""

from typing import Any

import pytest

from broker.config import IncidentSettings
from broker.errors import BadRequest
from broker.web.alertmanager import read

SETTINGS = IncidentSettings()


def webhook(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": "{}:{alertname='ErrorRate'}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "gate",
        "groupLabels": {"alertname": "ErrorRate"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "notification_reason": "a key of a newer version",
        "alerts": list(alerts),
        **more,
    }


def alert(**more: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "ErrorRate", "service": "checkout", "env": "prod", "severity": "page"},
        "annotations": {"summary": "checkout fails 12 % of its requests", "runbook": "https://wiki.example"},
        "startsAt": "2026-03-26T11:20:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "c3b4a5d6e7f80910",
        **more,
    }


def test_each_alert_of_a_group_is_one() -> None:
    first, second = read(
        webhook(alert(), alert(status="resolved", endsAt="2026-03-26T11:30:00Z", fingerprint="ab")), SETTINGS
    )
    assert (first["service"], first["env"], first["severity"]) == ("checkout", "prod", "critical")
    assert (first["title"], first["starts_at"], first["ends_at"]) == (
        "checkout fails 12 % of its requests",
        1774524000,
        0,
    )
    assert (second["status"], second["ends_at"], second["fingerprint"]) == ("resolved", 1774524600, "ab")


def test_alerts_that_were_cut_off_are_told_with_each() -> None:
    [only] = read(webhook(alert(), truncatedAlerts=7), SETTINGS)
    assert only["truncated"] == 7


def test_labels_that_name_nothing_leave_the_service_unknown_and_the_environment_to_configuration() -> None:
    [only] = read(webhook(alert(labels={"alertname": "Watchdog"}, annotations={})), SETTINGS)
    assert (only["service"], only["env"], only["severity"], only["title"]) == ("unknown", "prod", "warning", "Watchdog")


def test_the_labels_that_count_are_configuration() -> None:
    settings = IncidentSettings(service_labels=("component",), env_labels=("stage",), severity_labels=("prio",))
    labels = {"alertname": "x", "service": "wrong", "component": "payments", "stage": "test", "prio": "Info"}
    [only] = read(webhook(alert(labels=labels)), settings)
    assert (only["service"], only["env"], only["severity"]) == ("payments", "test", "info")


@pytest.mark.parametrize(
    "body",
    [
        {},
        webhook(),
        webhook(alert(), version="3"),
        webhook(*[alert()] * 65),
        webhook(alert(status="pending")),
        webhook(alert(fingerprint="../../etc")),
        webhook(alert(labels={"a": 1})),
        webhook(alert(labels={str(i): "x" for i in range(65)})),
        webhook(alert(startsAt="yesterday")),
        webhook(alert(), truncatedAlerts=-1),
        webhook(alert(), alerts="all"),
    ],
)
def test_another_form_is_refused_with_the_field_and_the_remedy(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as raised:
        read(body, SETTINGS)
    assert raised.value.error_code == "alert.form"
    assert "field `" in str(raised.value)
