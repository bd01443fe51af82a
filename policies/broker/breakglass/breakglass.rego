# METADATA
# title: Break-glass
# description: What two people opened for a while. It spares the wait for an approval, and gives no right that a grant does not.
# custom:
#   owners: [security]
package broker.breakglass

# METADATA
# title: One is open
open if input.context.now_s < input.context.breakglass.until_s

# METADATA
# title: Configuration keeps the action out of every break-glass
kept_out if {
	some beginning in data.config.breakglass.never
	startswith(input.action.name, beginning)
}

# METADATA
# title: The break-glass names the target
named if {
	some target in input.context.breakglass.targets
	target.type == input.resource.type
	target.id == input.resource.id
	target.env == input.resource.env
}

# METADATA
# title: Parties of the request that the break-glass names
expected contains party.id if {
	some party in input.subject.parties
	party.id in input.context.breakglass.people
}

# METADATA
# title: The request is one that the break-glass was opened for
covers if {
	open
	input.action.name in input.context.breakglass.actions
	named
	count(expected) == count(input.subject.parties)
	not kept_out
}

# METADATA
# title: The last break-glass has not been looked back at in time
# custom:
#   reason: breakglass.review_overdue
deny contains {"code": "breakglass.review_overdue", "params": {}} if {
	input.action.name == "gate.breakglass.open"
	input.context.breakglass.overdue
	not data.config.breakglass.open_while_overdue
}
