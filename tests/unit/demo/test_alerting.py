"""Who is called when: the rules as Prometheus reads them, and the watcher that stands in for it."""

import json
import subprocess
from pathlib import Path

import pytest

from broker.config import IncidentSettings
from broker.web import alertmanager
from demo import alerts
from demo.alerts import RULES
from demo.sli import Totals
from demo.watcher import Watcher, body
from tests.parts import require

ADDRESSES = dict.fromkeys(("storefront", "checkout", "payments", "inventory"), "http://127.0.0.1:1")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("until", [None, 1_800_000_009.5])
def test_the_gate_reads_the_watcher_s_webhook(rule: alerts.Rule, until: float | None) -> None:
    sent = body(rule, rule.service or "payments", since=1_800_000_000.25, until=until)
    (read,) = alertmanager.read(json.loads(json.dumps(sent)), IncidentSettings())
    assert (read["service"], read["env"]) == (rule.service or "payments", "prod")
    assert read["severity"] == rule.severity
    assert read["starts_at"] == 1_800_000_000
    assert (read["status"], read["ends_at"]) == (("firing", 0) if until is None else ("resolved", 1_800_000_009))


def test_the_fingerprint_is_the_labels_alone() -> None:
    first, again = (body(RULES[0], "storefront", since=at)["alerts"][0]["fingerprint"] for at in (1.0, 2.0))
    other = body(RULES[1], "storefront", since=1.0)["alerts"][0]["fingerprint"]
    assert first == again != other


class Measured(Watcher):
    """A watcher whose samples are given."""

    def feed(self, **samples: Totals | None) -> None:
        for service in ADDRESSES:
            self._seen[service].append(samples.get(service, Totals()))


def told(watcher: Measured, now: float) -> list[tuple[str, str, str]]:
    watcher.judge(now)
    found = []
    for content, active in watcher.due(now):
        (alert,) = content["alerts"]
        found.append((alert["labels"]["alertname"], alert["labels"]["service"], alert["status"]))
        if active is not None:
            active.told = True
    return found


def test_errors_fire_after_their_time_and_once_and_are_over_when_they_are() -> None:
    watcher = Measured(ADDRESSES)
    watcher.feed(storefront=Totals(100, 0))
    assert told(watcher, 1) == []
    watcher.feed(storefront=Totals(120, 10))
    assert told(watcher, 2) == []
    watcher.feed(storefront=Totals(140, 20))
    assert told(watcher, 4) == [("CustomerErrorRateHigh", "storefront", "firing")]
    watcher.feed(storefront=Totals(160, 30))
    assert told(watcher, 5) == []
    for number in range(6):
        watcher.feed(storefront=Totals(180 + 20 * number, 30))
    assert told(watcher, 12) == [("CustomerErrorRateHigh", "storefront", "resolved")]
    assert told(watcher, 13) == []


def test_slow_customers_deep_queues_and_missing_metrics_fire_each_about_its_own() -> None:
    watcher = Measured(ADDRESSES)
    for number in range(4):
        watcher.feed(storefront=Totals(10 * number, 0, 3.0 * number), payments=Totals(queue=500), inventory=None)
        assert ("CustomerErrorRateHigh", "storefront", "firing") not in told(watcher, number * 4)
    watcher = Measured(ADDRESSES)
    seen = []
    for number in range(12):
        watcher.feed(storefront=Totals(10 * number, 0, 3.0 * number), payments=Totals(queue=500), inventory=None)
        seen += told(watcher, float(number))
    assert sorted(seen) == [
        ("CustomerLatencyHigh", "storefront", "firing"),
        ("MetricsMissing", "inventory", "firing"),
        ("QueueDepthHigh", "payments", "firing"),
    ]


def test_a_traffic_pause_is_no_error_rate() -> None:
    watcher = Measured(ADDRESSES)
    for number in range(6):
        watcher.feed(storefront=Totals(50, 50))
        assert told(watcher, float(number)) == []


def test_real_prometheus_and_alertmanager_accept_the_configuration(tmp_path: Path) -> None:
    promtool = require("promtool")
    token = tmp_path / "token"
    token.write_text("t")
    alerts.configure(tmp_path, ADDRESSES, gate="http://localhost:8480", token=token, alertmanager=9093)
    done = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
