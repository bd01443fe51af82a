# METADATA
# title: Time box
# description: When the silence of those who were told counts as their yes. Off unless configured; the gate counts it once.
# custom:
#   owners: [security]
package broker.timebox

# METADATA
# title: The configuration lets silence count at all
enabled if data.config.approval.time_box.enabled

# METADATA
# title: What the configuration says of this action in this environment
named := data.config.approval.time_box.actions[input.action.name][input.resource.env]

# METADATA
# title: One person's approval is asked for, by the tier that proposes
one_person if {
	data.broker.risk.tier == 2
	data.broker.approval.chosen.quorum == 1
}

# METADATA
# title: The action can be undone
reversible if input.action.reversibility == "reversible"

# METADATA
# title: The confidence that the gate computed is high enough for the action and the environment
sure if input.context.evidence.confidence_milli >= named.confidence_milli

# METADATA
# title: Few depend on the target
near if count(input.context.target.dependents) <= data.config.approval.time_box.dependents_max

# METADATA
# title: No other incident is on the target or on a dependent
alone if count(data.broker.remedies.met) == 0

# METADATA
# title: Silence has counted less often today than it may
spare if input.context.time_box.today < data.config.approval.time_box.per_day

# METADATA
# title: Seconds since midnight, UTC
second := input.context.now_s % 86400

# METADATA
# title: Seconds from Sunday's midnight to that of this day, UTC
# description: The epoch began on a Thursday, the fourth day of a week that begins on Sunday.
weekday := ((input.context.now_s + 345600) % 604800) - second

# METADATA
# title: People are at work
awake if {
	some window in data.config.approval.time_box.hours
	some day in window.days
	weekday == day * 86400
	second >= window.from_h * 3600
	second < window.until_h * 3600
}

# METADATA
# title: Nothing may change here in these days without a person
frozen if {
	some freeze in data.config.approval.time_box.freezes
	input.resource.env in freeze.environments
	input.context.now_s >= freeze.from_s
	input.context.now_s < freeze.until_s
}

# METADATA
# title: Somebody who holds the role, and still does, has acknowledged the notice
acknowledged if {
	some role in input.context.time_box.acknowledged
	role in data.config.approval.time_box.acknowledge
}

# METADATA
# title: Time boxes are switched off
# custom:
#   reason: timebox.off
lacking contains {"code": "timebox.off", "params": {}} if not enabled

# METADATA
# title: The action is not named for this environment
# custom:
#   reason: timebox.not_named
lacking contains {"code": "timebox.not_named", "params": {}} if not named

# METADATA
# title: More than one person has to approve, or another tier decides
# custom:
#   reason: timebox.not_one_person
lacking contains {"code": "timebox.not_one_person", "params": {}} if not one_person

# METADATA
# title: It is no remedy that an agent asks for in an incident
# custom:
#   reason: timebox.not_a_remedy
lacking contains {"code": "timebox.not_a_remedy", "params": {}} if not data.broker.remedies.remedying

# METADATA
# title: It is not what the catalogue derives from the diagnosis
# custom:
#   reason: timebox.not_derived
lacking contains {"code": "timebox.not_derived", "params": {}} if not input.action.remedy.derived

# METADATA
# title: It cannot be undone
# custom:
#   reason: timebox.not_reversible
lacking contains {"code": "timebox.not_reversible", "params": {}} if not reversible

# METADATA
# title: Done twice it does more than once
# custom:
#   reason: timebox.not_idempotent
lacking contains {"code": "timebox.not_idempotent", "params": {}} if not input.action.idempotent

# METADATA
# title: The diagnosis is not sure enough
# custom:
#   reason: timebox.unsure
lacking contains {"code": "timebox.unsure", "params": {"confidence_milli": input.context.evidence.confidence_milli}} if not sure

# METADATA
# title: Too many depend on the target
# custom:
#   reason: timebox.far_reaching
lacking contains {"code": "timebox.far_reaching", "params": {"dependents": count(input.context.target.dependents)}} if not near

# METADATA
# title: Another incident is near the target
# custom:
#   reason: timebox.other_incident
lacking contains {"code": "timebox.other_incident", "params": {}} if not alone

# METADATA
# title: It is not the hour for it
# custom:
#   reason: timebox.hours
lacking contains {"code": "timebox.hours", "params": {}} if not awake

# METADATA
# title: Changes are frozen
# custom:
#   reason: timebox.frozen
lacking contains {"code": "timebox.frozen", "params": {}} if frozen

# METADATA
# title: Silence has counted often enough today
# custom:
#   reason: timebox.used_up
lacking contains {"code": "timebox.used_up", "params": {"today": input.context.time_box.today}} if not spare

# METADATA
# title: What silence may do here
offer := {
	"rule": concat("/", ["broker.timebox", input.action.name, input.resource.env]),
	"seconds": named.seconds,
	"per_day": data.config.approval.time_box.per_day,
	"acknowledge": data.config.approval.time_box.acknowledge,
} if {
	count(lacking) == 0
}

# METADATA
# title: The part of the duty to have it approved
# scope: document
default boxed := {}

boxed := {"time_box": offer}

# METADATA
# title: Silence does not count where a condition does not hold (any more)
deny contains reason if {
	input.context.time_box.counts
	some reason in lacking
}

# METADATA
# title: Not every receiver of the notice took it
# custom:
#   reason: timebox.not_told
deny contains {"code": "timebox.not_told", "params": {}} if {
	input.context.time_box.counts
	not input.context.time_box.told
}

# METADATA
# title: Nobody on call said that they had seen the notice
# custom:
#   reason: timebox.not_acknowledged
deny contains {"code": "timebox.not_acknowledged", "params": {}} if {
	input.context.time_box.counts
	not acknowledged
}

# METADATA
# title: The time is not over
# custom:
#   reason: timebox.not_over
deny contains {"code": "timebox.not_over", "params": {}} if {
	input.context.time_box.counts
	not input.context.time_box.over
}
