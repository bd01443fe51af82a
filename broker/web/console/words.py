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


common = Common()
log = Log()
live = Live()
audit = Audit()
nav = Nav()
problem = Problem()
signin = SignIn()
health = Health()
