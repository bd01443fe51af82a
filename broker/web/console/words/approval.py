"""Strings: approval."""

from collections.abc import Mapping
from typing import ClassVar


class Approval:
    """Of the page `approval`."""

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
    dependents = "Depends directly on it, by the inventory: {names}"
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
    unrecorded = "not on record yet: a denial holds already, an approval counts from its record on"
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
        "This needs a signature, and you have no security key in force: register one on the page of security keys and "
        "have it confirmed."
    )
    sign = "Sign and approve"
    sign_text = (
        "Policy wants this signed: your security key signs the digest above with the plan, the rollback, the policy and "
        "your name. The signature stays in the record."
    )
    reason_needed = "a denial needs a reason that the requester can learn from"
    reason_remedy = "say what should be different"
    number_remedy = "give a whole number, or leave it as it was"
    number = "field `narrow.{name}` is not a number"
    not_recorded = "Your answer was not taken"
    kept = (
        "Your answer is kept, but not on record yet. A denial holds already; an approval counts once it is on record."
    )
    approved = "Your approval is on record."
    denied = "Your denial is on record."
    back = "Inbox"
