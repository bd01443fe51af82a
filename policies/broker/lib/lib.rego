# METADATA
# title: Words that every area shares
# description: Facts derived from the input and the configuration. Nothing here decides.
# custom:
#   owners: [security]
package broker.lib

# METADATA
# title: The tenant as configured; undefined for an unknown one
tenant := data.config.tenants[input.subject.tenant]

# METADATA
# title: The environment as configured; undefined for an unknown one
environment := data.config.environments[input.resource.env]

# METADATA
# title: Roles that count for each party, by the party's position
# description: A role counts only for a party of a type that may hold it, whatever the token says.
roles[position] contains role if {
	some position, party in input.subject.parties
	some role in party.roles
	declared := data.config.roles[role]
	party.type in declared.holders

	# A role that is kept for parties counts for these alone.
	party.id in object.get(declared, "only", [party.id])
}

# METADATA
# title: An agent or workload takes part in the request
machine_involved if {
	some party in input.subject.parties
	party.type != "human"
}

# METADATA
# title: The request changes something
writing if input.action.effect == "write"

# METADATA
# title: The gate itself asks
own if {
	input.subject.acting.type == "workload"
	input.subject.acting.id in data.config.roles.gate.only
}
