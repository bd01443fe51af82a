# METADATA
# title: Redaction
# description: Which profile, at which places, and which pseudonyms the connector may turn back.
# custom:
#   owners: [security, privacy]
package broker.redaction

# METADATA
# title: What is configured here
config := data.config.disclosure

# METADATA
# title: Profiles that the data's classes ask for
asked contains name if {
	some class in input.action.data_classes
	name := config.profile_of_class[class]
}

# METADATA
# title: A class of the data has no profile
unprofiled if {
	some class in input.action.data_classes
	not config.profile_of_class[class]
}

# METADATA
# title: The strictest profile that is asked for; undefined, and so refused, where a class has none
# scope: document
profile := [name | some name in config.order; name in asked][0] if not unprofiled

profile := config.default_profile if count(input.action.data_classes) == 0

# METADATA
# title: Places that are redacted
places := object.get(config.at, input.action.connector, config.at.otherwise)

# METADATA
# title: Argument paths whose pseudonyms become real values inside the connector
restore[path] := entities if {
	some name, entities in config.restore[input.action.name]
	path := concat("", ["$.", name])
}

# METADATA
# title: The duty to redact
obligation := {"profile": profile, "at": places, "restore": restore}
