"""Every string that people read in the console, in one place.

One class a page, one instance in lower case; templates see this module as ``words``. Braces are filled by ``format``.
"""
# ruff: noqa: D101 - a class here is a page, and its names are its strings

from collections.abc import Mapping
from typing import ClassVar


class Common:
    product = "Wicketgate"
    skip = "Skip to content"
    main_nav = "Console"
    account = "Account"
    signed_in_as = "Signed in as"
    roles = "Roles"
    no_roles = "no role"
    tenant = "Tenant"
    sign_in = "Sign in"
    sign_out = "Sign out"
    theme = "Colours"
    help_hint = "Press ? for the keys of this page"
    dev_banner = "Development identity provider: sign-ins on this gate prove nothing. Never use it beyond this machine."
    never = "never"
    ago = "{} ago"
    ahead = "in {}"
    now = "now"
    loading = "Loading …"
    failed_to_load = "This part could not be loaded. Reload the page; if that does not help, look at the health page."
    nothing = "Nothing here."
    receipt = "On record as no. {seq} of {log}"
    waiting = "This now waits for somebody else's approval."
    not_granted = "None of your roles ({roles}) may do this ({action})."
    no_role_granted = "You hold no role at this gate, and this needs one ({action})."
    confirm_presence = "Sign in again"
    previous = "Newer"
    following = "Older"


class Nav:
    inbox = "Inbox"
    live = "Live"
    incidents = "Incidents"
    agents = "Agents"
    audit = "Audit"
    policies = "Policies"
    simulate = "Simulate"
    usage = "Usage"
    redaction = "Redaction lab"
    exports = "Exports"
    health = "Health and settings"


class Problem:
    title = "This did not work"
    refused = "Refused"
    not_found = "Not found"
    again = "Sign in again to go on"
    again_text = "This needs your presence: sign in again, and you come back to the same page."
    unavailable = "Not possible right now"
    why = "Why"
    what_next = "What to do next"
    code = "Code"
    decision = "Decision"
    record = "Record"
    back = "Back to the console"
    retry = "Try again in {seconds} s."
    csrf = "the form does not belong to this sign-in, or another site sent it"
    csrf_remedy = "open the page again and send the form from there"
    form = "the form holds a field twice, or is no form"
    not_configured = "the console has no identity provider"
    not_configured_remedy = "name one of [[identity.issuers]] in [console] issuer and start the gate again"


class SignIn:
    signed_out = "Signed out"
    signed_out_text = "You are signed out of this console."
    provider_text = "Your identity provider may still know you."
    provider_link = "Sign out there, too"
    leaving = "Going to your identity provider …"
    in_again = "Sign in again"


class Health:
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


class Log:
    number = "No."
    at = "When"
    kind = "Kind"
    who = "Who"
    behalf = "for"
    what = "What"
    said = "How"
    codes = "Rules and reasons"
    effect = "Decision"
    any = "any"
    own = "with looks at the gate itself"
    filter = "Filter"
    labels: ClassVar[Mapping[str, str]] = {
        "since": "From (UTC)",
        "until": "Until (UTC)",
        "principal": "Who (party id or pseudonym)",
        "action": "Action (a name, or a beginning with a dot at its end)",
        "resource": "Resource id",
        "code": "Rule or reason",
        "session": "Session",
        "incident": "Incident",
        "tier": "Risk tier",
    }
    kinds: ClassVar[Mapping[str, str]] = {
        "intent": "begun",
        "outcome": "ended",
        "refusal": "refused",
        "proposal": "waits for people",
        "review": "review",
        "recovery": "closed after a restart",
        "incident": "incident",
        "policy": "policy",
        "kill": "stopped",
        "resume": "resumed",
        "export": "export",
    }


class Live:
    title = "Live"
    text = "What goes on record, as it goes on record. Nothing is shown that is not in the log."
    pause = "Pause"
    resume = "Go on"
    running = "following"
    paused = "paused"
    nothing = "Nothing yet that fits. New records appear here by themselves; loosen the filters to see more."
    no_script = "Without scripts this page stands still: reload it to see what is new."
    ended = "The stream was interrupted. It goes on by itself where it may; else reload the page."


class Audit:
    title = "Audit"
    text = "Search the records of the log, and check them."
    search = "Search"
    found = "Records"
    window = "Without a beginning the search covers seven days, since"
    behind = "{count} of the newest records are not in the index yet: search again in a moment."
    nothing = "No record fits. Take a longer time, or fewer filters."
    go_on = "Nothing yet: the search looked as far as one page may. Go on to older records."
    views = "Saved views"
    view_name = "Name for these filters"
    view_forget = "forget the view of this name"
    view_save = "Save"
    view_done = "Your views are as you said."
    entry = "Record {seq}"
    leaf = "Leaf hash"
    verify = "Verify"
    property = "Property"
    verdict = "Verdict"
    why = "Why"
    record = "The record as it stands in the log"
    elsewhere = "Check it elsewhere"
    elsewhere_text = "Take both files and the log's key to a machine that you trust, and run:"
    get_leaf = "Exact bytes"
    get_proof = "Proof (tlog-proof)"
    vkey = "The log's key, as this gate says it:"
    consistency = "One checkpoint after another"
    consistency_text = (
        "Paste a checkpoint that you kept. The log proves that nothing before it was changed or removed since, "
        "or the page says that it cannot."
    )
    older = "The checkpoint that you kept"
    newer = "A newer one; empty for the log as it stands"
    compare = "Compare"
    path = "The proof: {count} hashes"


class Inbox:
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


class Approval:
    title = "Approval of {action}"
    states: ClassVar[Mapping[str, str]] = {
        "waiting": "waits for people",
        "approved": "approved, begins soon",
        "executing": "under way",
        "done": "done",
        "failed": "failed",
        "unknown": "outcome unknown",
        "denied": "denied",
        "expired": "expired",
        "cancelled": "withdrawn",
    }
    what = "What is asked"
    resource = "On"
    requester = "Asked by"
    behalf = "for"
    quorum = "Needs"
    quorum_text = "{given} of {quorum} approvals, from: {roles}"
    expires = "Expires"
    asked = "Asked"
    digest = "Digest of what you approve"
    incident = "Incident"
    session = "Session"
    revision = "Policy revision"
    arguments = "Exact arguments"
    arguments_text = "Canonical, whole, sorted by name. Characters that hide or deceive are shown by number."
    narrowed = "A reviewer narrowed this. As it was proposed:"
    no_arguments = "The action takes no arguments here."
    provenance = "Where each value comes from"
    argument = "Argument"
    origin = "Origin"
    trusted = "trusted"
    untrusted = "could come from outside"
    tainted = "Text that outsiders can write had entered the session by then."
    intent = "What the session is for"
    intent_trusted = "in a person's own words"
    intent_untrusted = "as the agent or an outsider says"
    reason = "The requester's words"
    no_reason = "The requester gave no reason."
    plan = "Before and after"
    no_difference = "The connector's plan shows no difference in what it can see."
    affected = "Affected"
    affected_none = "The plan names nothing else that is affected."
    rollback = "The way back"
    rollback_text = "This request undoes it. Approving also binds it, by its digest:"
    no_rollback = "There is no automatic way back."
    evidence = "Evidence"
    no_evidence = "The request cites no diagnosis of its incident: nothing here was verified by the gate."
    cause = "Cause"
    verdict = "Verdict"
    claim = "Claim"
    found = "Found"
    observation = "Observation"
    confidence = "{milli} of 1000"
    trace = "Why policy asks"
    trace_text = "Decided afresh for this page, before anybody's answer, in the words of the rules."
    trace_problem = "Policy cannot be asked right now: {problem}. The request stays decided as it was."
    trace_changed = "The policy changed since this was asked: an approval of it will not be used."
    rule = "Rule"
    rule_says = "What it says"
    obligations = "Duties"
    similar = "The same before"
    no_similar = "The log shows no earlier end of this action on this resource."
    reviews = "Answers so far"
    no_reviews = "Nobody answered yet."
    other_digest = "for another version, does not count"
    decide = "Decide"
    closed = "Nobody can answer any more: the request is {state}."
    approve = "Approve"
    approve_text = "You approve exactly what stands above."
    deny = "Deny"
    deny_reason = "Why not (needed; the requester reads it)"
    approve_reason = "Note (kept in the record)"
    narrow = "Narrow it first"
    narrow_text = "You can only make it less. What you change makes another version, which you approve."
    four_eyes = "Four eyes: {detail}. {remedy}."
    signature = (
        "This needs a signature of your security key over the digest, which this console cannot take: use another."
    )
    reason_needed = "a denial needs a reason that the requester can learn from"
    reason_remedy = "say what should be different"
    number_remedy = "give a whole number, or leave it as it was"
    number = "field `narrow.{name}` is not a number"
    not_recorded = "Your answer was not taken"
    approved = "Your approval is on record."
    denied = "Your denial is on record."
    back = "Inbox"


class Incidents:
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


class Observation:
    title = "Observation"
    text = "What an action brought back, redacted and whole. Text in it is nobody's instruction."
    value = "Value"


class Exports:
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


common = Common()
exports = Exports()
incidents = Incidents()
observation = Observation()
inbox = Inbox()
approval = Approval()
log = Log()
live = Live()
audit = Audit()
nav = Nav()
problem = Problem()
signin = SignIn()
health = Health()
