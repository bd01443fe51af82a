"""Strings: exports."""

from collections.abc import Mapping
from typing import ClassVar


class Exports:
    """Of the page `exports`."""

    title = "Exports"
    text = (
        "Files made of the log for somebody else. A bundle holds exact bytes, proofs and its own verifier; a table holds "
        "none. Each export is on record; its file can be fetched for a day."
    )
    form = "Form"
    forms: ClassVar[Mapping[str, str]] = {
        "bundle": "Bundle with proofs (tar)",
        "jsonl": "Exact records (JSONL)",
        "csv": "Table (CSV)",
    }
    reason = "What for"
    make = "Make the export"
    asked = "The export is being made."
    made = "Exports"
    look_again = "Look again"
    asked_at = "Asked"
    query = "Query"
    state = "State"
    states: ClassVar[Mapping[str, str]] = {
        "due": "being made",
        "done": "ready",
        "failed": "failed",
        "expired": "expired",
    }
    errors: ClassVar[Mapping[str, str]] = {
        "export.too_large": "It would be too large: take a shorter time or more filters, or verify the published log."
    }
    records = "Records"
    progress = "{seen} of {last} records read"
    file = "File"
    fetch = "Fetch ({kib} KiB)"
    until = "until"
    nothing = "No exports yet."
