# METADATA
# title: Denied parties and targets
# description: Named exceptions that no grant reaches.
# custom:
#   owners: [security]
package broker.denylist

# METADATA
# title: A party of the request is refused by name
# custom:
#   reason: denylist.party
deny contains {"code": "denylist.party", "params": {"party": party.id}} if {
	some party in input.subject.parties
	data.config.denylist.parties[party.id]
}

# METADATA
# title: The target is refused by name
# custom:
#   reason: denylist.resource
deny contains {"code": "denylist.resource", "params": {"entry": entry}} if {
	some entry, target in data.config.denylist.resources
	target.type == input.resource.type
	input.resource.env in target.environments
	input.action.effect in target.effects
	names(target)
}

# METADATA
# title: An entry names exactly this resource
names(target) if target.id == input.resource.id

# METADATA
# title: An entry names all resources whose id starts so
names(target) if {
	target.match == "prefix"
	startswith(input.resource.id, target.id)
}
