# METADATA
# title: Bounds
# description: How wide the arguments, how long the answer, how long the hold on the target.
# custom:
#   owners: [security]
package broker.bounds

# METADATA
# title: What is configured here
config := data.config.bounds

# METADATA
# title: Bounds on arguments
constrain := {"arguments": config.arguments[input.action.name]}

# METADATA
# title: Size of the answer
cap := object.get(config.cap.actions, input.action.name, config.cap.otherwise)

# METADATA
# title: What a write holds
# description: Its target; in an incident all that goes by the target's name, too, and all that directly depends on it.
# scope: document
held contains concat("/", [input.resource.type, input.resource.env, input.resource.id])

held contains concat("/", [kind, input.resource.env, name]) if {
	input.context.incident.id != ""
	some kind in config.lease_types_in_incidents
	some name in names
}

# METADATA
# title: The target and its direct dependents
# scope: document
names contains input.resource.id

names contains name if some name in input.context.target.dependents

# METADATA
# title: A write holds its target alone
lease := {"keys": held, "seconds": seconds} if {
	data.broker.lib.writing
	seconds := object.get(config.lease_seconds, input.action.connector, config.lease_seconds.otherwise)
	seconds > 0
}
