"""Strings: agents."""

from collections.abc import Mapping
from typing import ClassVar


class Agents:
    """Of the page `agents`."""

    title = "Agents"
    one = "One agent or person"
    who = "Who acts here"
    who_text = "Everybody that the log has a record of, the last seen first, each as its newest record says."
    kind = "Kind"
    kinds: ClassVar[Mapping[str, str]] = {"": "All", "agent": "Agent", "human": "Person", "workload": "Workload"}
    nobody = "Nobody of this kind has asked for anything yet."
    name = "Name"
    roles = "Roles"
    no_roles = "none"
    last_seen = "Last seen"
    state = "State"
    runs = "runs"
    show = "Show"
    stop_this = "Stop …"
    nameless = "Its name is not known here (its records were erased), and the switch needs it."
    identity = "Identity"
    issuer = "Issuer"
    profile = "Issuer's profile"
    subject = "Subject"
    pseudonym = "Pseudonym in the log"
    key = "Key"
    bindings: ClassVar[Mapping[str, str]] = {
        "dpop": "DPoP (RFC 9449), thumbprint",
        "mtls": "client certificate, thumbprint",
    }
    no_key = "not bound to a key: whoever holds the token can use it until it expires"
    issued = "Last token issued"
    only_for = "It never came by itself, only for a person."
    first_seen = "First seen"
    records = "Its records"
    may = "What it may ask for"
    may_text = (
        "As the active policy's data grants its roles. Other rules may still deny. Where an agent acts for a person, both need "
        "the grant."
    )
    nothing_granted = "No role of its grants anything: every request is denied."
    action = "Action"
    on = "On"
    in_ = "In"
    by_role = "By role"
    effects_of: ClassVar[Mapping[str, str]] = {"read": "reads", "write": "writes", "": "unknown"}
    use = "Use"
    today = "Today (UTC)"
    week = "Seven days"
    limits = "Its own limits"
    no_limits = "No limit of the active policy is counted for it alone."
    sessions = "Open sessions"
    no_sessions = "No session is open."
    session = "Session"
    opened = "Opened"
    ends = "Ends"
    purpose = "Purpose"
    left_out = "({count} more characters)"
    incident = "Incident"
    tainted = "has read what an outsider may have written"
    clean = "clean"
    budget = "Budgets"
    budget_of = "{name}: {used} of {of}"
    no_budget = "no bounds"
    refusals = "Refusals of the last week"
    refusals_text = "By code, of the newest {most} at most."
    no_refusals = "Nothing of it was refused."
    code = "Code"
    count = "Times"
    last_time = "Last"
    switch = "Kill switch"
    no_name = "no agent is named"
    no_name_remedy = "open the page of agents and choose one"
    runs_since = "This form was used already, and somebody has let it run again since: nothing was stopped now."
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
