"""Strings: incidents."""

from collections.abc import Mapping
from typing import ClassVar


class Incidents:
    """Of the page `incidents`."""

    waits = "A request of this incident waits for a decision"
    title = "Incidents"
    text = "The newest first. An incident opens when an alert comes in; agents work on it, people decide."
    one = "Incident"
    nothing = "No incident here. Choose another state, or wait for an alert."
    state = "State"
    any_state = "any"
    filter = "Filter"
    what = "Incident"
    service = "Service"
    severity = "Severity"
    since = "Since"
    until = "Alert ended"
    fires = "the alert still fires"
    changed = "Last change"
    holder = "Held by"
    nobody = "nobody: agents work on it"
    session = "Session"
    alerts = "Alerts counted"
    asked = "Action under way"
    labels = "What the alert says"
    number = "Identifier"
    timeline = "Timeline"
    timeline_text = "Everything on record, in order of time."
    timeline_part = "{count} of {total} entries. Queries and actions above are those of these entries."
    earlier = "Earlier entries"
    later = "Later entries"
    older_diagnoses = "{count} older diagnoses are not shown here; GET {path} gives them in parts."
    at = "When"
    kind = "Kind"
    by = "Who"
    told = "What"
    diagnoses = "Diagnoses"
    no_diagnoses = "No diagnosis yet. An agent, or you, may submit claims; the gate checks each of them."
    held = "the incident stands on this one"
    confidence = "Confidence {figure}"
    claims = "Claims"
    claim = "Claim"
    test = "Test"
    actual = "Found"
    verdict = "The gate's verdict"
    observation = "Observation"
    ruled_out = "Ruled out"
    missing = "What is missing"
    queries = "Queries"
    no_queries = "Nothing was looked at yet."
    actions = "Actions"
    no_actions = "Nothing was changed yet."
    action = "Action"
    resource = "Resource"
    arguments = "Arguments"
    status = "Status"
    seen = "What it brought back"
    verification = "Verification"
    not_verified = "No remedy was judged yet. The gate measures before and after one."
    level = "Service level"
    depends = "depends on the cause"
    before = "Before"
    after = "After {number}"
    unmeasured = "not measured"
    chart = "{name}: before {before}, then {count} samples after the remedy. The table has the figures."
    linked = "Linked incidents"
    elsewhere = "More"
    related = "What is affected, and who knows"
    postmortem = "Post-mortem"
    postmortem_text = (
        "Written from records only; what is not on record is said to be so. It is Markdown, shown as text."
    )
    download = "Download as Markdown"
    audit = "Its records in the log"
    exports = "Export"
    back = "Back to the incident"
    affected = "Affected"
    depends_on = "Depends on"
    component = "Component"
    distance = "Steps away"
    owners = "Owners"
    open_incidents = "Open incidents"
    none_known = "The topology knows of none."
    unknown_service = "The topology does not know this service."
    experts = "Who knows about this"
    no_experts = "Nobody is on record."
    why = "Why"
    last = "Last acted"
    whys: ClassVar[Mapping[str, str]] = {
        "owner_of_cause": "owns the cause",
        "owner_of_service": "owns the service",
        "acted": "acted in past incidents",
    }
    part = "Take part"
    over = "This incident is over: it takes no more steps."
    note = "Note"
    note_text = "Everybody who works on this incident reads it, agents too."
    note_send = "Add the note"
    say = "What you want to say"
    step = "Step"
    fault = "Fault"
    step_send = "Do it"
    kinds: ClassVar[Mapping[str, str]] = {
        "rule_out": "Rule a cause out",
        "correct": "Correct the diagnosis",
        "take_over": "Take over",
        "hand_back": "Hand back",
        "outside_change": "Record a change made outside",
        "close": "Close the incident",
    }
    kind_texts: ClassVar[Mapping[str, str]] = {
        "rule_out": "No diagnosis that names this cause holds any more. Name the component or the fault.",
        "correct": "Say what the cause is. A diagnosis that the incident stands on is withdrawn, and so is its approval.",
        "take_over": "Agents stop here; the incident waits for you.",
        "hand_back": "Agents go on, and know what you wrote.",
        "outside_change": "What somebody changed without the gate; agents count it in.",
        "close": "The incident ends, and what was learned is kept.",
    }
    no_kind = "the form names no step of an incident"
    no_kind_remedy = "open the incident again and send the form from there"
    done = "Done, and on record."
    severities: ClassVar[Mapping[int, str]] = {1: "info", 2: "warning", 3: "high", 4: "critical"}
    states: tuple[str, ...] = (
        "triaging",
        "investigating",
        "diagnosed",
        "proposed",
        "awaiting_approval",
        "executing",
        "verifying",
        "mitigated",
        "rolling_back",
        "escalated",
        "human_hold",
        "noise",
        "linked",
        "learning",
        "closed",
    )
