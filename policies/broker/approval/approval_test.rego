package broker.approval_test

import data.broker.approval
import data.broker.fixture_test as fixture

good := {
	"reviewer": "dev:oncall-1",
	"type": "human",
	"roles": ["oncall"],
	"verdict": "approve",
	"same_actor": false,
	"same_subject": false,
	"acr": "",
}

reviewed(base, changes) := fixture.changed(base, {"context/approvals": [{
	"id": "apr_a",
	"digest": "d",
	"policy_revision": "1",
	"reviews": [object.union(good, changes)],
}]})

manual := fixture.changed(fixture.write, {"action/reversibility": "irreversible"})

test_by_tier if {
	wanted := {"quorum": 1, "roles": ["oncall", "security"], "expires_s": 900, "separation": "actor", "signature": false}
	approval.obligation == wanted with input as fixture.write
	approval.obligation.separation == "subject" with input as manual
	approval.obligation.signature with input as manual
	not approval.obligation with input as fixture.read
	approval.settled with input as fixture.read
	approval.settled with input as fixture.write
}

test_an_approval_of_its_own if {
	asked := fixture.changed(fixture.write, {"action/name": "gate.policy.activate"})
	approval.obligation.roles == ["security"] with input as asked
}

test_nothing_is_settled_when_configuration_names_no_approval if {
	not approval.settled with input as fixture.write with data.config.approval.tiers as []
}

test_reviews_that_hold if {
	approval.deny == set() with input as reviewed(fixture.write, {})
	approval.deny == set() with input as reviewed(fixture.write, {"same_subject": true})
}

test_reviews_that_do_not_hold if {
	fixture.codes(approval.deny) == {"approval.denied"} with input as reviewed(fixture.write, {"verdict": "deny"})
	fixture.codes(approval.deny) == {"approval.own_request"} with input as reviewed(fixture.write, {"same_actor": true})
	fixture.codes(approval.deny) == {"approval.same_person"} with input as reviewed(manual, {"same_subject": true})
	fixture.codes(approval.deny) == {"approval.reviewer_lacks_role"} with input as reviewed(fixture.write, {"roles": ["auditor"]})
	both := {"approval.reviewer_lacks_role", "approval.reviewer_not_person"}
	fixture.codes(approval.deny) == both with input as reviewed(fixture.write, {"type": "agent"})
}
