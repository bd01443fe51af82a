# METADATA
# title: Approval
# description: Who must approve, and whether the reviews that came in still hold under this policy.
# custom:
#   owners: [security]
package broker.approval

# METADATA
# title: What is configured here
config := data.config.approval

# METADATA
# title: The action has an approval of its own
special if config.actions[input.action.name]

# METADATA
# title: The approval that the action, else its tier, asks for
# scope: document
chosen := config.actions[input.action.name]

chosen := rule if {
	not special
	some rule in config.tiers
	rule.tier == data.broker.risk.tier
}

# METADATA
# title: What is a person's work is approved by a signature
# scope: document
default signature := false

signature if data.broker.risk.tier == 3

# METADATA
# title: The duty to have it approved
obligation := {
	"quorum": chosen.quorum,
	"roles": chosen.roles,
	"expires_s": chosen.expires_s,
	"separation": chosen.separation,
	"signature": signature,
} if {
	not data.broker.breakglass.covers
}

# METADATA
# title: Nothing is missing - the tier needs no approval, or says which
# scope: document
settled if data.broker.risk.tier < 2

settled if obligation

settled if data.broker.breakglass.covers

# METADATA
# title: All reviews of all approvals that fit this request
reviews contains review if {
	some approval in input.context.approvals
	some review in approval.reviews
}

# METADATA
# title: Approving reviews, where approval is needed
approving contains review if {
	some review in reviews
	review.verdict == "approve"
	obligation
}

# METADATA
# title: Reviewers with a role that may approve this
fit contains review.reviewer if {
	some review in approving
	some role in review.roles
	role in chosen.roles
	review.type in data.config.roles[role].holders
}

# METADATA
# title: Somebody said no
# custom:
#   reason: approval.denied
deny contains {"code": "approval.denied", "params": {}} if {
	some review in reviews
	review.verdict == "deny"
}

# METADATA
# title: Only people approve
# custom:
#   reason: approval.reviewer_not_person
deny contains {"code": "approval.reviewer_not_person", "params": {"reviewer": review.reviewer}} if {
	some review in approving
	review.type != "human"
}

# METADATA
# title: The reviewer does not hold a role that may approve this (any more)
# custom:
#   reason: approval.reviewer_lacks_role
deny contains {"code": "approval.reviewer_lacks_role", "params": {"reviewer": reviewer}} if {
	some review in approving
	reviewer := review.reviewer
	not fit[reviewer]
}

# METADATA
# title: Nobody approves their own request
# custom:
#   reason: approval.own_request
deny contains {"code": "approval.own_request", "params": {"reviewer": review.reviewer}} if {
	some review in approving
	review.same_actor
}

# METADATA
# title: Nor the person behind the agent, where policy wants somebody else
# custom:
#   reason: approval.same_person
deny contains {"code": "approval.same_person", "params": {"reviewer": review.reviewer}} if {
	chosen.separation == "subject"
	some review in approving
	review.same_subject
}
