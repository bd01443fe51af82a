"""docs/metrics.md from the table in the code."""

from broker.telemetry import METRICS

HEAD = """# Metrics

Generated from `broker/telemetry/metrics.py` (`make docs`). `GET /metrics` gives them in Prometheus' text format, with the
process' own (`process_resident_memory_bytes`, `process_open_fds`, …) beside them. Every label takes at most 200 values of
its own; what comes after is counted as `other`. No label holds what a caller wrote. Rows of the database (`approvals`,
`incidents`, `work`, `kill_switches`) are counted every ten seconds over all tenants: replicas on one database all say the
same, so take `max`, not `sum`. Queues are told in `broker/web/README.md`.

| metric | type | labels | what |
| --- | --- | --- | --- |
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `wicketgate_{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in METRICS
    ]
    return HEAD + "\n".join(rows) + "\n"
