"""What operators' metrics say of the whole gate: how full its queues are, and what waits in its rows."""

import asyncio
import platform
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from broker.clock import seconds
from broker.egress import UpstreamSettings
from broker.errors import BrokerError
from broker.store import queues
from broker.telemetry import Depth, Metrics

if TYPE_CHECKING:
    from broker.wiring.gate import Wiring

SEND_SECONDS = 5.0


def release() -> str:
    """The installed version of the gate; ``unknown`` where it runs from a bare tree."""
    try:
        return version("wicketgate")
    except PackageNotFoundError:
        return "unknown"


def watch(gate: "Wiring") -> None:
    """Have the parts asked whenever somebody looks at the metrics."""
    metrics = gate.telemetry.metrics
    gate.telemetry.queue(lambda: _queues(gate))
    metrics.pull("policy_workers_lost_total", lambda: [((), gate.policy.workers_lost)])
    metrics.pull("tasks", lambda: [((), len(asyncio.all_tasks()))])
    metrics.set("build_info", 1, release(), platform.python_version())
    metrics.pull("tools_quarantined", lambda: list(gate.quarantine.counts().items()))
    metrics.pull("log_halted", lambda: [((), float(gate.log.halted))])


def _queues(gate: "Wiring") -> Iterator[Depth]:
    """Every bounded queue of this process but the server's own."""
    yield "log", gate.log.waiting, gate.log.waiting_max, gate.log.turned_away
    for name, lane in gate.store.depths():
        yield f"store_{name}", *lane
    yield "policy", *gate.policy.depth
    yield "approved", *gate.approved.depth
    yield "decisions", *gate.evaluating.turns.lane.depth
    yield "events", gate.feed.following, gate.settings.events.streams_max, gate.feed.turned_away
    for name, depth in gate.egress.depths():
        yield f"upstream_{name}", *depth
    if gate.telemetry.tracing is not None:
        yield "spans", gate.telemetry.tracing.waiting, gate.settings.telemetry.spans_waiting_max, 0


@asynccontextmanager
async def traced(gate: "Wiring") -> AsyncIterator[None]:
    """Trace, and send what was traced through the gate's own egress, where a collector is configured."""
    chosen = gate.settings.telemetry
    if not chosen.traces_url:
        yield
        return
    at = urlsplit(chosen.traces_url)
    upstream = gate.egress.upstream(
        UpstreamSettings(
            name="traces",
            base_url=f"{at.scheme}://{at.netloc}",
            allow_networks=chosen.allow_networks,
            ca_file=chosen.ca_file,
            timeout_seconds=SEND_SECONDS,
            answer_bytes_max=65_536,
        )
    )

    async def post(body: bytes) -> int:
        headers = {"Content-Type": "application/x-protobuf"}
        return (await upstream.request("POST", at.path or "/v1/traces", headers=headers, body=body)).status

    tracing = gate.telemetry.trace(
        now_ns=gate.clock.now_ns,
        version=release(),
        ratio=chosen.ratio,
        waiting_max=chosen.spans_waiting_max,
        inbound=chosen.caller,
    )
    sending = asyncio.create_task(tracing.send_for_ever(post, chosen.send_seconds))
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        with suppress(TimeoutError):
            # A slow collector does not hold the end up.
            async with asyncio.timeout(SEND_SECONDS):
                await tracing.flush(post)


async def count(gate: "Wiring") -> None:
    """Say what this replica lacks, then what waits in the rows, for all tenants together: all replicas say the same.

    Without the database nothing is said of the rows: old counts would look like new ones. Raises ``BrokerError`` then.
    """
    await _readiness(gate)
    now = seconds(gate.clock)
    try:
        rows = await gate.store.read(lambda connection: queues.totals(connection, now))
    except BrokerError:
        _counted(gate.telemetry.metrics, {})
        raise
    _counted(gate.telemetry.metrics, rows)


async def _readiness(gate: "Wiring") -> None:
    """What this replica decides by, and whether the parts that readiness needs are there."""
    metrics, active = gate.telemetry.metrics, gate.policy.active
    metrics.only("policy_info", {(active.revision, gate.policy.engine_label): 1} if active else {})
    try:
        missing = await gate.missing()
    except BrokerError:
        missing = {"store": ""}
    metrics.only("ready", {(part,): float(part not in missing) for part in ("policy", "log", "store", "identity")})


def _counted(metrics: Metrics, rows: Mapping[tuple[str, str], queues.Queue]) -> None:
    """Each gauge of rows, as they are now."""
    for name in ("approvals", "incidents", "work", "kill_switches"):
        metrics.only(name, {(state,): found.length for (about, state), found in rows.items() if about == name})
    metrics.only(
        "approvals_oldest_timestamp_seconds",
        {(state,): found.oldest for (about, state), found in rows.items() if about == "approvals"},
    )
