# METADATA
# title: Rights
# description: Every party of a request needs a grant for the action, in this environment, on this type of resource.
# custom:
#   owners: [security]
package broker.allowlist

# METADATA
# title: Grants that name the action, by party and role
naming[position][role] := grant if {
	some position, roles in data.broker.lib.roles
	some role in roles
	grants := data.config.grants[role]
	grant := grants[input.action.name]
}

# METADATA
# title: Of these, grants that name the environment
placed[position][role] := grant if {
	some position, grants in naming
	some role, grant in grants
	input.resource.env in grant.environments
}

# METADATA
# title: Of these, roles whose grant names the resource's type
covering[position] contains role if {
	some position, grants in placed
	some role, grant in grants
	input.resource.type in grant.resource_types
}

# METADATA
# title: No role of a party grants the action
# custom:
#   reason: allowlist.action_not_granted
deny contains {"code": "allowlist.action_not_granted", "params": {"party": party.id}} if {
	some position, party in input.subject.parties
	not naming[position]
}

# METADATA
# title: The party has the action, but not in this environment
# custom:
#   reason: allowlist.environment_not_granted
deny contains {"code": "allowlist.environment_not_granted", "params": {"party": party.id}} if {
	some position, party in input.subject.parties
	naming[position]
	not placed[position]
}

# METADATA
# title: The party has the action here, but not on this type of resource
# custom:
#   reason: allowlist.resource_type_not_granted
deny contains {"code": "allowlist.resource_type_not_granted", "params": {"party": party.id}} if {
	some position, party in input.subject.parties
	placed[position]
	not covering[position]
}

# METADATA
# title: The grant that a party used
# custom:
#   reason: allowlist.granted
granted contains {"code": "allowlist.granted", "params": {"party": party.id, "role": role}} if {
	some position, party in input.subject.parties
	some role in covering[position]
}

# METADATA
# title: Every party is covered
complete if count(covering) == count(input.subject.parties)
