"""Strings: policies."""

from collections.abc import Mapping
from typing import ClassVar


class Policies:
    """Of the pages `policies`."""

    title = "Policies"
    lead = "Each revision is a signed bundle. One is in force, for every tenant and every replica; the others are kept."
    in_force = "In force"
    nothing_in_force = "No verified policy is loaded: everything is denied. Activate a signed bundle."
    broken = "The newest activation does not load here. The last good revision decides."
    none = "No bundle is kept here yet. Build one with wicketgate policy build, then wicketgate policy activate."
    revisions = "Revisions"
    revision = "Revision"
    digest = "Digest"
    signer = "Signed by key"
    state = "State"
    activated = "Put into force"
    by = "by"
    somebody = "somebody of the operator's tenant"
    never = "never"
    active = "in force"
    last_good = "last good before it"
    formerly = "was in force"
    staged = "not yet in force"
    gate_passed = "passed when it was put into force"
    gate_unknown = "not run yet: its page runs it"
    load_gate = "Load gate"
    kinds: ClassVar[Mapping[str, str]] = {
        "activate": "activated",
        "rollback": "rolled back to",
        "offline": "rolled back to on the host",
    }
    history = "What was in force when"
    waiting = "Waits for a second person"
    waiting_none = "No change of the policy waits."
    waiting_off = "Your roles do not show you what waits: {why}"
    asked_by = "asked by"
    expires = "expires"
    see = "See and decide"
    upload = (
        "A new bundle is built where its signer's key is kept and sent by the command line: "
        "wicketgate policy build, then wicketgate policy activate. It then waits here."
    )
    one = "Revision {revision}"
    all = "All revisions"
    about = "What it is"
    manifest = "Manifest"
    files = "Files"
    path = "File"
    characters = "Characters"
    rules = "Its rules in words"
    rules_text = "In the words of their authors, from the METADATA of each rule."
    rules_none = "No rule of it says anything of itself."
    rule = "Rule"
    says = "What it says"
    reasons = "Reason that it gives"
    compare = "What it changes"
    compare_with = "Compare with"
    compare_go = "Show the difference"
    compare_active = "What it changes of what is in force"
    results = "Tests and golden decisions"
    results_text = "{goldens} golden decisions and {tests} files of unit tests travel with it, signed."
    results_go = "Run them"
    results_title = "Results of revision {revision}"
    results_cut: ClassVar[Mapping[str, str]] = {
        "refused": "The engine does not take this bundle, so nothing was run: the load gate's findings say why.",
        "broken": "The gate's policy engine failed before everything was run; looking again begins anew.",
        "time": "Time ran out before everything was run. What was not reached says so; looking again begins anew.",
        "stopped": "It was stopped before everything was run. What was not reached says so; looking again begins anew.",
    }
    results_under_way = "Still running: {seen} of {all} cases so far. It runs on when you leave this page."
    results_look = "Look again"
    ended: ClassVar[Mapping[str, str]] = {"passed": "passed", "failed": "failed", "not_run": "not run"}
    findings = "Findings of the load gate"
    findings_none = "The load gate's checks find nothing against it."
    engine_text = (
        "Run just now or earlier in this process, on {engine}; a bundle never changes, so neither does its result."
    )
    totals = "{passed} passed, {failed} failed, {not_run} not run"
    goldens = "Golden decisions"
    unit_tests = "Unit tests"
    unit_tests_none = "It carries no unit tests: it was built without, or before bundles carried them."
    case = "Case"
    outcome = "Result"
    detail = "What is wrong"
    all_of = "All of {file}: {totals}"
    way_back = "Who could change the policy under it"
    way_back_text = "Asked of the revision itself, for a person with one role and a fresh sign-in."
    may_ask = "May ask to go back"
    may_approve = "May approve that"
    nobody = "nobody"
    nobody_must = "nobody must approve it"
    locked_out = (
        "Under this revision nobody could go back. It would have to be undone on the host: "
        "wicketgate policy rollback --offline {digest}"
    )
    change = "Put into force"
    change_text = (
        "It holds for every tenant and replica at once. Somebody else with the role must approve first; "
        "you cannot approve your own request. The load gate runs again before it decides anything."
    )
    activate = "Ask to activate it"
    rollback = "Ask to go back to it"
    reason = "Why (needed; the approver reads it)"
    no_reason = "field `reason` is empty"
    no_reason_remedy = "say why; the second person decides by it"
    is_active = "It is in force."
    too_old = (
        "Its revision is not newer than {newest}, which was in force before, and it never was itself. "
        "Build it again under a newer revision."
    )
    not_operator = "The policy concerns every tenant: only people of the operator's tenant change it or read its text."
    asked = "Asked. It waits for a second person: see below."
    done = "It is in force now."
    difference = "From revision {older} to {newer}"
    same = "The two say the same."
    changed: ClassVar[Mapping[str, str]] = {"added": "added", "removed": "removed", "changed": "changed"}
    rule_changes = "Rules"
    rule_changes_none = "No rule changes."
    value_changes = "Values"
    value_changes_none = "No value of the configuration changes."
    value = "Value"
    before = "Before"
    after = "After"
    absent = "not there"
    file_changes = "Files, line by line"
    more_lines = "{more} more lines are not shown here. Open both files to see them."
    more_files = "{more} more files differ and are not shown line by line."
    more_values = "{more} more values differ; the files show them."
    source = "{path} of revision {revision}"
    more_text = "{more} more characters are not shown here; the bundle has them all."
    hidden = "What looks like personal data or a secret is hidden here, as everywhere; the bundle itself is unchanged."
    unknown_change = "field `change` must be activate or rollback"
