# METADATA
# title: Guardrails
# description: Deny-only rules that are always evaluated. A missing fact is a denial, never silence.
# custom:
#   owners: [security]
package broker.guardrails

# METADATA
# title: What is configured here
config := data.config.guardrails

# METADATA
# title: A person may look and resume while everything stands still
survives_stop if {
	input.action.name in config.while_stopped
	not data.broker.lib.machine_involved
}

# METADATA
# title: Acts that carry their purpose elsewhere
reason_waived if input.action.name in config.without_reason

# METADATA
# title: A write belongs into a session
session_bound if data.broker.lib.writing

# METADATA
# title: So do the actions that configuration names
session_bound if input.action.name in config.in_session

# METADATA
# title: Writes that come before a session
session_waived if input.action.name in config.without_session

# METADATA
# title: An agent's write that cites a diagnosis
cites if {
	data.broker.lib.machine_involved
	data.broker.lib.writing
	input.action.properties.diagnosis != ""
}

# METADATA
# title: Calls of MCP clients in this tenant come from a model turn that the gate relayed
turn_needed if input.subject.tenant in config.turns.tenants

# METADATA
# title: So do those of this party
turn_needed if {
	some party in input.subject.parties
	party.id in config.turns.parties
}

# METADATA
# title: So do those that ask something of this system
turn_needed if input.action.connector in config.turns.connectors

# METADATA
# title: The catalog does not know the action
# custom:
#   reason: action.unknown
deny contains {"code": "action.unknown", "params": {}} if not input.action.known

# METADATA
# title: The inventory does not know the resource
# custom:
#   reason: resource.unknown
deny contains {"code": "resource.unknown", "params": {}} if not input.resource.known

# METADATA
# title: The resource belongs to another tenant
# custom:
#   reason: resource.other_tenant
deny contains {"code": "resource.other_tenant", "params": {}} if input.resource.tenant != input.subject.tenant

# METADATA
# title: The tenant is not configured
# custom:
#   reason: tenant.unknown
deny contains {"code": "tenant.unknown", "params": {}} if not data.broker.lib.tenant

# METADATA
# title: The environment is not configured
# custom:
#   reason: environment.unknown
deny contains {"code": "environment.unknown", "params": {}} if not data.broker.lib.environment

# METADATA
# title: The kill switch is pulled
# custom:
#   reason: kill.stopped
deny contains {"code": "kill.stopped", "params": {}} if {
	input.context.killed
	not survives_stop
}

# METADATA
# title: The one who is stopped asks to be resumed
# custom:
#   reason: kill.resume_self
deny contains {"code": "kill.resume_self", "params": {"party": party.id}} if {
	input.action.name == "gate.kill.resume"
	some party in input.subject.parties
	party.id == input.action.properties.arguments.target
}

# METADATA
# title: Only a person, with no agent in between, may ask for this
# custom:
#   reason: identity.person_required
deny contains {"code": "identity.person_required", "params": {}} if {
	input.action.name in config.persons_only
	data.broker.lib.machine_involved
}

# METADATA
# title: The sign-in is too old for this act
# custom:
#   reason: identity.presence_not_fresh
deny contains {"code": "identity.presence_not_fresh", "params": {"seconds": seconds}} if {
	seconds := config.presence_seconds[input.action.name]
	input.subject.auth_age_s > seconds
}

# METADATA
# title: Nobody knows how old the sign-in is
# custom:
#   reason: identity.presence_unknown
deny contains {"code": "identity.presence_unknown", "params": {"seconds": seconds}} if {
	seconds := config.presence_seconds[input.action.name]
	input.subject.auth_age_s < 0
}

# METADATA
# title: In a tainted session, data would go where an attacker may have pointed
# description: A destination argument without a label counts as untrusted.
# custom:
#   reason: taint.untrusted_destination
deny contains {"code": "taint.untrusted_destination", "params": {"argument": name}} if {
	input.context.tainted
	some name in input.action.destinations
	object.get(input.action.properties.arguments, name, null) != null
	object.get(input.context.provenance, concat("", ["$.", name]), "untrusted") != "trusted"
}

# METADATA
# title: An agent would read what an attacker may have written, and no session would know
# custom:
#   reason: taint.session_required
deny contains {"code": "taint.session_required", "params": {}} if {
	data.broker.lib.machine_involved
	input.action.untrusted_result
	input.subject.session == ""
}

# METADATA
# title: A write says why
# custom:
#   reason: reason.missing
deny contains {"code": "reason.missing", "params": {}} if {
	data.broker.lib.writing
	trim_space(input.action.properties.reason) == ""
	not reason_waived
}

# METADATA
# title: An agent acts outside a session
# custom:
#   reason: session.required
deny contains {"code": "session.required", "params": {}} if {
	data.broker.lib.machine_involved
	input.subject.session == ""
	session_bound
	not session_waived
}

# METADATA
# title: The gate has not recomputed the cited diagnosis
# custom:
#   reason: evidence.unknown_diagnosis
deny contains {"code": "evidence.unknown_diagnosis", "params": {}} if {
	cites
	input.context.evidence.diagnosis != input.action.properties.diagnosis
}

# METADATA
# title: A claim of the cited diagnosis is refuted
# custom:
#   reason: evidence.refuted
deny contains {"code": "evidence.refuted", "params": {"refuted": input.context.evidence.refuted}} if {
	cites
	input.context.evidence.refuted > 0
}

# METADATA
# title: Too little of the cited diagnosis is verified
# custom:
#   reason: evidence.too_thin
deny contains {"code": "evidence.too_thin", "params": {"needs": needs}} if {
	cites
	some needs in ["sources", "verified"]
	input.context.evidence[needs] < config.evidence[needs]
}

# METADATA
# title: No model turn that the gate relayed asked for this call of an MCP client
# custom:
#   reason: turn.not_relayed
deny contains {"code": "turn.not_relayed", "params": {}} if {
	turn_needed
	input.context.turn.tool_call
	not input.context.turn.relayed
}

# METADATA
# title: The model turn that the call names asked for something else
# custom:
#   reason: turn.other_call
deny contains {"code": "turn.other_call", "params": {}} if {
	turn_needed
	input.context.turn.relayed
	not input.context.turn.matches
}
