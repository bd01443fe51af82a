# METADATA
# title: Redaction
# description: Which profile, at which places, and which pseudonyms the connector may turn back.
# custom:
#   owners: [security, privacy]
package broker.redaction

# METADATA
# title: Profiles that the data's classes ask for
asked contains name if {
	some class in input.action.data_classes
	name := data.config.disclosure.profile_of_class[class]
}

# METADATA
# title: A class of the data has no profile
unprofiled if {
	some class in input.action.data_classes
	not data.config.disclosure.profile_of_class[class]
}

# METADATA
# title: The strictest profile that is asked for; undefined, and so refused, where a class has none
# scope: document
profile := [name | some name in data.config.disclosure.order; name in asked][0] if not unprofiled

profile := data.config.disclosure.default_profile if count(input.action.data_classes) == 0

# METADATA
# title: Places that are redacted
places := object.get(data.config.disclosure.at, input.action.connector, data.config.disclosure.at.otherwise)

# METADATA
# title: Argument paths whose pseudonyms become real values inside the connector
restore[path] := entities if {
	some name, entities in data.config.disclosure.restore[input.action.name]
	path := concat("", ["$.", name])
}

# METADATA
# title: The duty to redact
obligation := {"profile": profile, "at": places, "restore": restore}
