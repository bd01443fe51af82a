"""Strings: agents."""

from collections.abc import Mapping
from typing import ClassVar


class Agents:
    """Of the page `agents`."""

    title = "Agents"
    stopped = "What is stopped"
    nothing = "Nothing is stopped."
    is_stopped = "stopped"
    resume = "Let it run again"
    resume_reason = "Why it may run again"
    resumed = "It may run again; that is on record."
    stop = "Stop"
    stop_text = "Two steps: say what, then see what that does and confirm. The first step stops nothing."
    scope = "What to stop"
    target = "Which"
    target_text = "For an agent its party id, for a connector its name; empty otherwise."
    go_on = "See what that does"
    reason = "Why"
    confirm = "Stop it now"
    back = "Back; nothing is stopped"
    pulled = "Stopped. That is on record."
    was_pulled = "It was stopped already. That you asked is on record."
    effect = (
        "It holds at once on every replica, until somebody lets it run again with a reason. What people need to look at "
        "the gate and to let it run again is not stopped."
    )
    scopes: ClassVar[Mapping[str, str]] = {
        "agent": "One agent or person",
        "connector": "One connector",
        "tenant": "Everything of this tenant",
        "all": "Everything of every tenant",
    }
    effects: ClassVar[Mapping[str, str]] = {
        "agent": "From now on every request of this agent is refused, and so is what is made in its sessions.",
        "connector": "From now on every request that goes through this connector is refused, whoever asks.",
        "tenant": "From now on every request of this tenant is refused, whoever asks.",
        "all": "From now on every request at this gate is refused, in every tenant.",
    }
    form = "the form does not say what to stop: an agent or connector has a target, the rest has none"
    form_remedy = "open the page again, choose what to stop, and name it where it is one agent or connector"
    no_reason = "a reason is missing, or too long"
    no_reason_remedy = "say why in one sentence; whoever looks at it later needs to know"
