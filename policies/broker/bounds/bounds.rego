# METADATA
# title: Bounds
# description: How wide the arguments, how long the answer, how long the hold on the target.
# custom:
#   owners: [security]
package broker.bounds

import data.broker.lib

# METADATA
# title: Bounds on arguments
constrain := {"arguments": data.config.bounds.arguments[input.action.name]}

# METADATA
# title: Size of the answer
cap := object.get(data.config.bounds.cap.actions, input.action.name, data.config.bounds.cap.otherwise)

# METADATA
# title: A write holds its target alone
lease := {"keys": [key], "seconds": seconds} if {
	lib.writing
	seconds := object.get(data.config.bounds.lease_seconds, input.action.connector, data.config.bounds.lease_seconds.otherwise)
	seconds > 0
	key := concat("/", [input.resource.type, input.resource.env, input.resource.id])
}
