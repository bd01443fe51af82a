"""Strings: health."""

from collections.abc import Mapping
from typing import ClassVar


class Health:
    """Of the page `health`."""

    title = "Health and settings"
    ready = "Ready"
    not_ready = "Not ready"
    ready_text = "Everything that a decision needs is there."
    missing = "Missing"
    parts = "Parts"
    part = "Part"
    state = "State"
    detail = "Detail"
    well = "well"
    ill = "needs attention"
    policy = "Policy bundle"
    policy_detail = "revision {revision}, in force since"
    no_policy = "no bundle is in force: everything is denied"
    engine = "Policy engine"
    keys = "Keys of issuer {name}"
    keys_detail = "fetched {age} ago; not believed any more after {limit}"
    keys_none = "never fetched"
    log = "Audit log"
    log_detail = "{size} records, head {head}"
    store = "Database"
    store_detail = "{dialect}, {ms} ms for one look"
    connectors = "Connectors"
    quarantined = "{action} is in quarantine ({code})"
    unreachable = "{name} has no connection ({code})"
    queues = "What waits"
    queue = "Queue"
    length = "Length"
    oldest = "Oldest"
    queue_names: ClassVar[Mapping[str, str]] = {
        "approvals": "Requests that wait for people",
        "approved": "Approved, not yet executed",
        "incidents": "Live incidents",
        "work_due": "Work that is due",
        "work_held": "Work under way",
        "work_aside": "Work put aside after failures",
        "logins": "People signed in to the console",
    }
    settings = "Settings in force"
    settings_text = "As read at the start, environment included. Secrets are given by file and not shown."
    setting = "Setting"
    value = "Value"
    empty = "empty"
