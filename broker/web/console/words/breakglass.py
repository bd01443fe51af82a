"""Strings: break-glass."""

from collections.abc import Mapping
from typing import ClassVar


class Breakglass:
    """Of the page `breakglass`, and of the banner on every page."""

    title = "Break-glass"
    text = (
        "When nobody can be reached to approve: for a while, the people named below may do the actions named below on the "
        "targets named below without waiting. It gives nobody a right that no grant gives; limits, redaction, the record "
        "and the kill switch hold as ever. Two people open it, everybody is told, and somebody looks back at it afterwards."
    )
    banner_open = "Break-glass is open, asked for by {by} and opened by {second}, until"
    banner_overdue = "Nobody has looked back at the last break-glass. That was due"
    newest = "The newest"
    none = "There has been none."
    ask = "Ask for it"
    ask_text = "The first of two steps: it opens nothing. Another person with the role security opens it."
    actions = "Actions"
    actions_text = "One a line, as in the catalog: local.process.restart"
    targets = "Targets"
    targets_text = "One a line, as type/id (environment): process/checkout (prod)"
    people = "Who may act"
    people_text = "Party ids, one a line; empty: you alone. An agent may only where it is named."
    minutes = "For how many minutes (at most {most})"
    reason = "Why nobody can approve it"
    asked_by = "Asked for by"
    opened_by = "Opened by"
    until = "Until"
    confirm_until = "Waits until"
    review_due = "To be looked back at by"
    reviewed_by = "Looked back at by"
    found = "What was found"
    confirm = "Open it"
    confirm_reason = "How you know that it is needed"
    end = "End it"
    end_reason = "Why it may end"
    review = "Close the review"
    review_reason = "What was done, and whether it was right"
    see = "Everything done under it, in the log"
    asked = "Asked for. It is open once another person opens it. That is on record."
    confirmed = "It is open. Everybody is told. That is on record."
    ended = "It is over. Somebody else must look back at it. That is on record."
    reviewed = "Looked back at. That is on record."
    states: ClassVar[Mapping[str, str]] = {
        "waiting": "waits for a second person",
        "open": "open",
        "over": "over, not looked back at",
        "reviewed": "looked back at",
        "dropped": "never opened",
    }
    overdue = "overdue"
    form = "a target is not written as type/id (environment)"
    form_remedy = "write one target a line, such as process/checkout (prod)"
