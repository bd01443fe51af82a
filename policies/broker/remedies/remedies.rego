# METADATA
# title: Remedies
# description: What may be done in an incident. No diagnosis, no action; one remedy at a time on a target; never in a loop.
# custom:
#   owners: [security]
package broker.remedies

# METADATA
# title: What is configured here
config := data.config.remedies

# METADATA
# title: The request is made in an incident's session
inside if input.context.incident.id != ""

# METADATA
# title: The action changes nothing outside the gate
spared if {
	some beginning in config.spared
	startswith(input.action.name, beginning)
}

# METADATA
# title: An agent would change something in an incident
remedying if {
	inside
	data.broker.lib.writing
	data.broker.lib.machine_involved
	not spared
	not data.broker.lib.own
}

# METADATA
# title: What an agent would change in an incident is a remedy of the catalogue
listed if input.action.remedy.known

# METADATA
# title: The catalogue lists the remedy for the fault that was found
fitting if input.context.evidence.fault in input.action.remedy.faults

# METADATA
# title: Actions may be asked for in this state of the incident
open if input.context.incident.state in config.states

# METADATA
# title: The resource stands for no place
placeless if input.resource.type in config.placeless

# METADATA
# title: The action tells people what became of an incident
telling if input.action.name in config.telling

# METADATA
# title: Seconds since an incident last wrote to the target
rested_s := input.context.now_s - input.context.target.last_write_s if input.context.target.last_write_s >= 0

# METADATA
# title: Other incidents that meet this request on its target or on a dependent
# scope: document
met contains other if {
	some other in input.context.incident.others
	other.same_target
}

met contains other if {
	some other in input.context.incident.others
	other.dependent
}

# METADATA
# title: The other one is more severe, or as severe and older
# scope: document
goes_first(other) if other.severity > input.context.incident.severity

goes_first(other) if {
	other.severity == input.context.incident.severity
	other.older
}

# METADATA
# title: Incidents that must end first
# description: Whoever already changes something there is not disturbed; of those that may still come to it, the first in rank goes.
# scope: document
ahead contains other if {
	some other in met
	other.state in config.conflict.acting
}

ahead contains other if {
	some other in met
	other.state in config.conflict.coming
	goes_first(other)
}

# METADATA
# title: An investigation reaches only the environment of its incident
# custom:
#   reason: incident.other_environment
deny contains {"code": "incident.other_environment", "params": {"incident_env": input.context.incident.env}} if {
	inside
	input.resource.env != input.context.incident.env
	not placeless
}

# METADATA
# title: The gate itself changes nothing but to undo what was approved with its undoing
# custom:
#   reason: remedy.not_a_rollback
deny contains {"code": "remedy.not_a_rollback", "params": {}} if {
	data.broker.lib.own
	data.broker.lib.writing
	not telling
	not input.context.rollback.valid
}

# METADATA
# title: What stands against a change that an agent asks for in an incident
deny contains reason if {
	remedying
	some reason in objections
}

# METADATA
# title: The incident is not where an action can be asked for
# custom:
#   reason: incident.wrong_state
objections contains {"code": "incident.wrong_state", "params": {"state": input.context.incident.state}} if not open

# METADATA
# title: Another incident on the same target or a dependent goes first
# custom:
#   reason: incident.conflict
objections contains {"code": "incident.conflict", "params": {"retry_s": config.conflict.retry_s}} if count(ahead) > 0

# METADATA
# title: The agent does not say for which piece of work it acts
# custom:
#   reason: work.required
objections contains {"code": "work.required", "params": {}} if not input.context.work.given

# METADATA
# title: The piece of work is not the agent's any more
# custom:
#   reason: work.stale
objections contains {"code": "work.stale", "params": {}} if {
	input.context.work.given
	not input.context.work.valid
}

# METADATA
# title: No diagnosis, no action
# custom:
#   reason: evidence.no_diagnosis
objections contains {"code": "evidence.no_diagnosis", "params": {}} if input.action.properties.diagnosis == ""

# METADATA
# title: The gate did not find the diagnosis proven
# custom:
#   reason: evidence.inconclusive
objections contains {"code": "evidence.inconclusive", "params": {}} if input.context.evidence.verdict != "diagnosed"

# METADATA
# title: Too little of the diagnosis is verified, or from too few sources or kinds of signal
# custom:
#   reason: evidence.below_minimum
objections contains {"code": "evidence.below_minimum", "params": {"needs": needs, "minimum": minimum}} if {
	some needs, minimum in config.evidence
	input.context.evidence[needs] < minimum
}

# METADATA
# title: The diagnosis is about something else than this resource
# custom:
#   reason: evidence.other_resource
objections contains {"code": "evidence.other_resource", "params": {"component": input.context.evidence.component}} if {
	not input.context.evidence.matches
}

# METADATA
# title: The catalogue of remedies does not list the action
# custom:
#   reason: remedy.not_listed
objections contains {"code": "remedy.not_listed", "params": {}} if not input.action.remedy.known

# METADATA
# title: The catalogue lists the remedy for other faults
# custom:
#   reason: remedy.other_fault
objections contains {"code": "remedy.other_fault", "params": {"fault": input.context.evidence.fault}} if {
	listed
	not fitting
}

# METADATA
# title: The gate looked, and a precondition of the remedy does not hold
# custom:
#   reason: remedy.precondition
objections contains {"code": "remedy.precondition", "params": {}} if {
	listed
	not input.action.remedy.ready
}

# METADATA
# title: The last remedy on this target is too fresh
# custom:
#   reason: remedy.cooldown
objections contains {"code": "remedy.cooldown", "params": {"retry_s": input.action.remedy.cooldown_s - rested_s}} if {
	listed
	rested_s < input.action.remedy.cooldown_s
}

# METADATA
# title: The target had as many remedies in this hour as the catalogue allows
# custom:
#   reason: remedy.hourly_cap
objections contains {"code": "remedy.hourly_cap", "params": {"max": input.action.remedy.per_hour_max}} if {
	listed
	input.context.target.writes_hour >= input.action.remedy.per_hour_max
}

# METADATA
# title: Remedies on this target did not help, one after the other
# custom:
#   reason: remedy.breaker_open
objections contains {"code": "remedy.breaker_open", "params": {"ineffective": input.context.target.ineffective}} if {
	input.context.target.ineffective >= config.ineffective_max
}

# METADATA
# title: The same remedy comes again and again at a regular beat
# custom:
#   reason: remedy.oscillating
objections contains {"code": "remedy.oscillating", "params": {}} if input.context.target.oscillating
