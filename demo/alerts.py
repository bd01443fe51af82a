"""When somebody is called: the alert rules of the shop, once for Prometheus and once for the watcher that stands in for it.

``configure`` writes what a real Prometheus and a real Alertmanager need. Both programs are taken where they are installed;
``found`` says so.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WINDOW_SECONDS = 5
ERROR_SHARE = 0.05
MEAN_SECONDS = 0.25
QUEUE_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert: ``expression`` in PromQL, true for ``for_seconds`` before it fires."""

    name: str
    expression: str
    for_seconds: int
    severity: str
    summary: str
    service: str = ""
    """Whom it is about; empty where each series says so itself."""


def _rate(name: str) -> str:
    return f'sum(rate({name}{{service="storefront"}}[{WINDOW_SECONDS}s]))'


RULES = (
    Rule(
        "CustomerErrorRateHigh",
        f"{_rate('shop_errors_total')} / {_rate('shop_requests_total')} > {ERROR_SHARE}",
        2,
        "critical",
        "customers of the shop get errors",
        "storefront",
    ),
    Rule(
        "CustomerLatencyHigh",
        f"{_rate('shop_request_seconds_sum')} / {_rate('shop_request_seconds_count')} > {MEAN_SECONDS}",
        3,
        "high",
        "customers of the shop wait long",
        "storefront",
    ),
    Rule(
        "QueueDepthHigh",
        f"max by (service) (shop_queue_depth) > {QUEUE_DEPTH}",
        0,
        "warning",
        "jobs pile up in a queue",
    ),
    Rule(
        "MetricsMissing",
        'max by (service) (up{job="shop"}) == 0',
        10,
        "warning",
        "the metrics of a service cannot be read",
    ),
)


@dataclass(frozen=True, slots=True)
class Programs:
    """The two programs, where both are on this machine."""

    prometheus: str
    alertmanager: str


def found() -> Programs | None:
    """Prometheus and Alertmanager as installed, or nothing: one without the other is no use."""
    prometheus = shutil.which("prometheus")
    alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    return Programs(prometheus, alertmanager) if prometheus and alertmanager else None


def labels(rule: Rule, service: str) -> dict[str, str]:
    """The labels of an alert of ``rule`` about ``service``."""
    return {"alertname": rule.name, "env": "prod", "service": service, "severity": rule.severity}


def configure(folder: Path, addresses: Mapping[str, str], *, gate: str, token: Path, alertmanager: int) -> None:
    """Write ``prometheus.yml``, ``rules.yml`` and ``alertmanager.yml`` (JSON is YAML) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = [
        {
            "alert": rule.name,
            "expr": rule.expression,
            "for": f"{rule.for_seconds}s",
            "labels": {"severity": rule.severity, "env": "prod", **({"service": rule.service} if rule.service else {})},
            "annotations": {"summary": rule.summary},
        }
        for rule in RULES
    ]
    targets = [
        {"targets": [address.removeprefix("http://")], "labels": {"service": service, "env": "prod"}}
        for service, address in addresses.items()
    ]
    prometheus = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": [{"job_name": "shop", "honor_labels": True, "static_configs": targets}],
    }
    receiver = {
        "url": f"{gate}/v1/webhooks/alertmanager",
        "send_resolved": True,
        "max_alerts": 64,
        "http_config": {
            "authorization": {"type": "Bearer", "credentials_file": str(token)},
            "follow_redirects": False,
        },
    }
    grouped = {
        "group_by": ["alertname", "service"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    notified = {
        "route": {"receiver": "gate", **grouped},
        "receivers": [{"name": "gate", "webhook_configs": [receiver]}],
    }
    written = {
        "prometheus.yml": prometheus,
        "rules.yml": {"groups": [{"name": "shop", "interval": "1s", "rules": rules}]},
        "alertmanager.yml": notified,
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def commands(programs: Programs, folder: Path, *, prometheus: int, alertmanager: int) -> Mapping[str, list[str]]:
    """How both are started: on loopback, with their data in ``folder``."""
    return {
        "alertmanager": [
            programs.alertmanager,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ],
        "prometheus": [
            programs.prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            "--log.level=warn",
        ],
    }
