# METADATA
# title: Risk tier
# description: From what the action does, on what, and where. 0 read, 1 automatic, 2 approval, 3 manual, 4 unknown.
# custom:
#   owners: [security]
package broker.risk

# METADATA
# title: What is configured here
config := data.config.risk

# METADATA
# title: The tier; 4 when nothing else is known
# scope: document
default tier := 4

tier := exact if known

tier := 1 if {
	known
	not exact
	undoing
}

tier := min([3, max(floors)]) if {
	known
	not exact
	not undoing
}

# METADATA
# title: Action, resource and environment are known
known if {
	input.action.known
	input.resource.known
	data.broker.lib.environment
}

# METADATA
# title: The tier that configuration fixes for the action
exact := config.exact[input.action.name]

# METADATA
# title: The matrix's tier for a write
matrix := config.matrix[input.action.reversibility][data.broker.lib.environment.class] if data.broker.lib.writing

# METADATA
# title: The tier is the highest of these
# scope: document
floors contains 0 if not data.broker.lib.writing

floors contains matrix if not automatic

floors contains 1 if automatic

floors contains 2 if waiting

floors contains config.floor[input.action.name]

floors contains matrix + 1 if critical

floors contains config.busy.tier if busy

# METADATA
# title: The inventory marks the target as critical
critical if input.resource.labels[config.critical.label] in config.critical.values

# METADATA
# title: The requester has already written a lot today
busy if {
	data.broker.lib.writing
	input.context.usage.writes_today >= config.busy.writes_today
}

# METADATA
# title: The gate undoes what was approved together with its undoing
undoing if {
	input.context.rollback.valid
	data.broker.lib.own
}

# METADATA
# title: A safe remedy on a proven diagnosis, where configuration lets agents act alone
automatic if {
	input.context.incident.id != ""
	data.broker.lib.machine_involved
	input.action.name in config.automatic.actions
	input.action.reversibility == "reversible"
	input.action.idempotent
	input.context.evidence.verdict == "diagnosed"
	input.context.evidence.confidence_milli >= config.automatic.confidence_milli[input.resource.env]
	count(lacking) == 0
	unswayed
}

# METADATA
# title: What an agent needs about the target to act alone, and has too little of
lacking contains needs if {
	some needs, minimum in config.automatic.evidence
	input.context.evidence[needs] < minimum
}

# METADATA
# title: Every other remedy of an agent waits for a person, in whatever environment
waiting if {
	data.broker.remedies.remedying
	not automatic
}

# METADATA
# title: Nothing that an outsider wrote chose what is done
# scope: document
unswayed if not input.context.tainted

unswayed if input.action.remedy.derived

# METADATA
# title: What the tier rests on, for the approver and the record
# scope: document
factors contains concat(".", ["effect", input.action.effect])

factors contains concat(".", ["environment", data.broker.lib.environment.class])

factors contains concat(".", ["reversibility", input.action.reversibility]) if data.broker.lib.writing

factors contains "action.fixed" if exact

factors contains "action.floor" if config.floor[input.action.name]

factors contains "target.critical" if critical

factors contains "requester.busy" if busy

factors contains "remedy.automatic" if automatic

factors contains "remedy.undoing" if undoing

factors contains "facts.unknown" if not known

factors contains "breakglass.open" if data.broker.breakglass.covers

# METADATA
# title: Nobody can say how risky this is
# custom:
#   reason: risk.unknown
deny contains {"code": "risk.unknown", "params": {}} if tier == 4

# METADATA
# title: This is a person's work
# custom:
#   reason: risk.manual_only
deny contains {"code": "risk.manual_only", "params": {}} if {
	tier == 3
	data.broker.lib.machine_involved
	not data.broker.breakglass.covers
}
