"""Stands in for Prometheus and Alertmanager where they are not installed: measures, and sends the same webhook (version 4).

``python -m demo.watcher --addresses FILE --to URL --token FILE``. It scrapes each service once a second, judges the rules
of ``alerts.py`` over the same window, and tells when an alert begins and when it is over; what is not accepted is sent
again. The token is read anew for each call.
"""

import argparse
import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from demo.alerts import ERROR_SHARE, MEAN_SECONDS, QUEUE_DEPTH, RULES, WINDOW_SECONDS, Rule, labels
from demo.sli import Totals, scrape
from demo.wire import Json, call

RECEIVER = "gate"


@dataclass(slots=True)
class Active:
    """A condition that holds: since when, and whether it was told."""

    since: float
    told: bool = False


class Watcher:
    """The rules' state."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """``addresses``: service -> base URL."""
        self._addresses = addresses
        self._seen: dict[str, deque[Totals | None]] = {
            service: deque(maxlen=WINDOW_SECONDS + 1) for service in addresses
        }
        self._active: dict[tuple[str, str], Active] = {}
        self._over: list[tuple[Rule, str, float, float]] = []

    def look(self) -> None:
        """Take one sample of everything."""
        for service, address in self._addresses.items():
            samples = scrape(address)
            self._seen[service].append(None if samples is None else Totals.of(samples))

    def judge(self, now: float) -> None:
        """Bring each alert's state up to date."""
        for rule in RULES:
            for service in [rule.service] if rule.service else list(self._addresses):
                key = (rule.name, service)
                if self._holds(rule, service):
                    self._active.setdefault(key, Active(now))
                elif key in self._active:
                    ended = self._active.pop(key)
                    if ended.told:
                        self._over.append((rule, service, ended.since, now))

    def due(self, now: float) -> Iterator[tuple[Json, Active | None]]:
        """Webhook bodies to send, each with the alert that is told by it (None: it is over)."""
        for rule in RULES:
            for (name, service), active in self._active.items():
                if name == rule.name and not active.told and now - active.since >= rule.for_seconds:
                    yield body(rule, service, since=active.since), active
        for over in list(self._over):
            rule, service, since, until = over
            yield body(rule, service, since=since, until=until), None
            self._over.remove(over)

    def _holds(self, rule: Rule, service: str) -> bool:
        seen = [sample for sample in self._seen[service] if sample is not None]
        if rule.name == "MetricsMissing":
            return bool(self._seen[service]) and self._seen[service][-1] is None
        if not seen:
            return False
        if rule.name == "QueueDepthHigh":
            return seen[-1].queue > QUEUE_DEPTH
        new = seen[-1].since(seen[0])
        if not new.requests:
            return False
        if rule.name == "CustomerErrorRateHigh":
            return new.errors / new.requests > ERROR_SHARE
        return new.seconds / new.requests > MEAN_SECONDS


def body(rule: Rule, service: str, *, since: float, until: float | None = None) -> dict[str, Json]:
    """Alertmanager's webhook, version 4, with one alert."""
    own = labels(rule, service)
    annotations = {"summary": rule.summary}
    status = "firing" if until is None else "resolved"
    alert = {
        "status": status,
        "labels": own,
        "annotations": annotations,
        "startsAt": _instant(since),
        "endsAt": _instant(until) if until else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16],
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{rule.name}", service="{service}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": RECEIVER,
        "groupLabels": {"alertname": rule.name, "service": service},
        "commonLabels": own,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [alert],
    }


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _send(url: str, token: Path, content: Json) -> bool:
    """True where the receiver took it."""
    try:
        bearer = token.read_text(encoding="ascii").strip()
        status, answer = call("POST", url, content, headers={"authorization": f"Bearer {bearer}"}, seconds=5.0)
    except OSError as error:
        sys.stderr.write(f"not sent: {error}\n")
        return False
    if status != 200:
        sys.stderr.write(f"not taken: {status} {answer[:300]!r}\n")
    return status == 200


def main() -> None:
    """Watch until ended."""
    options = argparse.ArgumentParser(prog="demo.watcher")
    options.add_argument("--addresses", type=Path, required=True)
    options.add_argument("--to", required=True)
    options.add_argument("--token", type=Path, required=True)
    given = options.parse_args()
    watcher = Watcher(json.loads(given.addresses.read_text(encoding="utf-8")))
    due = time.monotonic()
    while True:
        watcher.look()
        now = time.time()
        watcher.judge(now)
        for content, active in watcher.due(now):
            if _send(given.to, given.token, content) and active is not None:
                active.told = True
        due = max(due + 1.0, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
