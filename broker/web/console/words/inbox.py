"""Strings: inbox."""

from collections.abc import Mapping
from typing import ClassVar


class Inbox:
    """Of the page `inbox`."""

    title = "Inbox"
    text = "What waits for people: the highest tier first, then what waits longest, then what expires soonest."
    nothing = "Nothing waits for anybody. New requests appear here by themselves."
    tier = "Tier {tier}"
    several = "{count} alike"
    several_text = "The same action with the same arguments was asked for {count} times. Each is decided for itself."
    waits = "Waits since"
    expires = "Expires"
    requester = "Asked by"
    reason = "The requester's words"
    plan = "What would happen"
    look = "Read it all and decide"
    older = "More"
    live = "This list renews itself every few seconds while you can see it."
    keys = "Keys"
    keys_use = "Use these keys"
    keys_text = "They work outside of fields, and only while the box is checked."
    key_names: ClassVar[Mapping[str, str]] = {
        "j": "next request",
        "k": "previous request",
        "Enter": "open or close what is chosen",
        "a": "go to the decision: approve",
        "d": "go to the decision: deny, with a reason",
        "?": "this help",
    }
