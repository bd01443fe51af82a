"""Strings: simulate."""

from collections.abc import Mapping
from typing import ClassVar


class Simulate:
    """Of the page `simulate`."""

    title = "Simulate"
    lead = (
        "What would policy decide about this request, and why? Nothing is executed, counted or reserved. "
        "That you asked is on record; what you typed is redacted like any argument."
    )
    off = "You may read this page but not ask: {why}"
    problem = "It could not be asked"
    from_record = "Why was this decided so?"
    record = "Number of a record, or id of an action, approval or decision"
    record_go = "Take the request from it"
    recalled = "Taken from record no. {seq}"
    recalled_text = (
        "The record holds who (by role), what and on what. Presence, use, approvals and what was measured at that moment "
        "are not on record: set what matters below, then ask."
    )
    was = "Decided then"
    missing: ClassVar[Mapping[str, str]] = {
        "arguments": "The arguments are sealed for whoever asked (and for people where it is an incident's): fill them in.",
        "behalf_roles": "The roles of the person behind the agent are not on record: fill them in.",
        "resource": "The resource is not in the inventory, so the record names it by pseudonym only.",
        "decision": "It was refused before policy was asked.",
    }
    request = "The request"
    digest = "Revision"
    revision_active = "{revision} (in force)"
    revision_kept = "{revision} ({digest}…)"
    action = "Action"
    type = "Resource type"
    id = "Resource"
    env = "Environment"
    arguments = "Arguments (JSON)"
    reason = "Reason that is given"
    who = "Who asks"
    whose: ClassVar[Mapping[str, str]] = {
        "me": "I, as I am signed in",
        "human": "a person",
        "agent": "an agent of its own",
        "agent_for": "an agent for a person",
        "workload": "a workload",
    }
    roles = "Roles, separated by commas"
    subject_id = "Party id (may stay empty)"
    behalf = "The person behind the agent"
    circumstances = "Circumstances"
    flags: ClassVar[Mapping[str, str]] = {
        "session": "in a session",
        "tainted": "outsiders' text has entered the session",
        "killed": "stopped by the kill switch",
        "dry_run": "as a dry run",
    }
    numbers: ClassVar[Mapping[str, str]] = {
        "auth_age_s": "Seconds since the sign-in (-1: unknown)",
        "actions_today": "Actions today",
        "writes_today": "Writes today",
    }
    ask = "Ask policy"
    whole = "The whole input, to change and ask again"
    whole_text = "Exactly what policy was given (broker.input/v1). Every fact of it may be changed."
    input = "Policy input (JSON)"
    ask_again = "Ask with this input"
    answer = "The answer"
    tier = "Tier {tier}"
    by = "Revision {revision} on {engine}"
    permit = "permit"
    deny = "deny"
    because = "Reasons"
    because_none = "It gives no reason: nothing denies it."
    code = "Code"
    rule = "Rule"
    params = "Details"
    remedy = "What to do next"
    duties = "Duties that come with it"
    duties_none = "No duty comes with it."
    duty = "Duty"
    fields = "In full"
    advice = "Advice"
    beside = "Beside what is in force"
    beside_text = "The same request, asked of revision {revision}, which is in force."
    beside_same = "Both decide alike."
    beside_none = "This is the revision in force."
    then = "Beside what is on record"
    then_same = "Effect, tier and reasons are as on record."
    then_differs = "It differs from the record: another revision, or facts that are not on record."
    point = "Point"
    here = "This revision"
    there = "In force"
    on_record = "On record"
    points: ClassVar[Mapping[str, str]] = {
        "effect": "Effect",
        "tier": "Tier",
        "reasons": "Reasons",
        "duties": "Duties",
        "rules": "Rules that held",
    }
    nothing = "none"
    rules = "Rules that held"
    rules_text = "In their authors' words; a rule without words is one that others build on."
    value = "Value"
    facts = "Facts that they read"
    fact = "Fact"
    not_given = "not given"
    not_json = "field `{field}` is not JSON: {detail}"
    not_json_remedy = "write an object, such as {}"
    not_number = "field `{field}` is not a whole number"
    not_number_remedy = "give a whole number, or leave it empty"
    not_known = "field `{field}` has a value that the form does not offer"
    too_long = "field `{field}` is longer than {most} characters"
    too_long_remedy = "shorten it"
