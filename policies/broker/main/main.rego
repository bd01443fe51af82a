# METADATA
# title: The decision
# description: Folds what the areas say. Deny over permit; whatever is not complete is denied.
# custom:
#   owners: [security]
package broker.main

# METADATA
# title: The only entrypoint
# description: Total. Exactly one of permit and deny; a permit without all its parts is a deny.
# entrypoint: true
# custom:
#   reason: policy.incomplete
default decision := {
	"schema": "broker.decision/v1",
	"effect": "deny",
	"risk": {"tier": 4, "factors": []},
	"reasons": [{"code": "policy.incomplete", "rule": "broker.main", "params": {}}],
	"obligations": {},
	"advice": {},
}

decision := {
	"schema": "broker.decision/v1",
	"effect": "permit",
	"risk": {"tier": data.broker.risk.tier, "factors": data.broker.risk.factors},
	"reasons": grounds,
	"obligations": obligations,
	"advice": advice,
} if {
	permitted
}

decision := {
	"schema": "broker.decision/v1",
	"effect": "deny",
	"risk": {"tier": data.broker.risk.tier, "factors": data.broker.risk.factors},
	"reasons": denials,
	"obligations": {},
	"advice": {},
} if {
	count(denials) > 0
}

# METADATA
# title: Nothing denies, and every part of a permit is there
permitted if {
	input.schema == "broker.input/v1"
	configured
	count(denials) == 0
	data.broker.allowlist.complete
	data.broker.approval.settled
	obligations.limits
	obligations.redact
	obligations.cap
}

# METADATA
# title: No area of the configuration is missing
# description: Denials that read a list would be silent without it.
configured if count(needed - object.keys(data.config)) == 0

# METADATA
# title: Areas of the configuration that decisions rest on
needed := {
	"approval", "bounds", "breakglass", "denylist", "disclosure", "environments", "grants", "guardrails",
	"limits", "models", "providers", "remedies", "residency", "risk", "roles", "tenants",
}

# METADATA
# title: Every denial of every area, with the area that gave it
denials contains object.union(reason, {"rule": concat(".", ["broker", area])}) if {
	some area, reasons in {
		"allowlist": data.broker.allowlist.deny,
		"approval": data.broker.approval.deny,
		"breakglass": data.broker.breakglass.deny,
		"denylist": data.broker.denylist.deny,
		"guardrails": data.broker.guardrails.deny,
		"limits": data.broker.limits.deny,
		"models": data.broker.models.deny,
		"remedies": data.broker.remedies.deny,
		"residency": data.broker.residency.deny,
		"risk": data.broker.risk.deny,
		"timebox": data.broker.timebox.deny,
	}
	some reason in reasons
}

# METADATA
# title: Why a permitted request is permitted
grounds contains object.union(reason, {"rule": "broker.allowlist"}) if some reason in data.broker.allowlist.granted

# METADATA
# title: A person has to approve
# custom:
#   reason: approval.required
grounds contains {"code": "approval.required", "rule": "broker.approval", "params": {"tier": data.broker.risk.tier}} if {
	obligations.approval
}

# METADATA
# title: Two people opened a break-glass that covers the request
# custom:
#   reason: breakglass.used
grounds contains {"code": "breakglass.used", "rule": "broker.breakglass", "params": params} if {
	data.broker.breakglass.covers
	params := {"id": input.context.breakglass.id, "until_s": input.context.breakglass.until_s}
}

# METADATA
# title: Duties of a permit
obligations["limits"] := data.broker.limits.applicable if count(data.broker.limits.applicable) > 0

obligations["redact"] := data.broker.redaction.obligation

obligations["cap"] := data.broker.bounds.cap

obligations["constrain"] := data.broker.bounds.constrain

obligations["residency"] := data.broker.residency.obligation

obligations["lease"] := data.broker.bounds.lease if not input.context.dry_run

obligations["approval"] := object.union(duty, data.broker.timebox.boxed) if {
	not input.context.dry_run
	duty := data.broker.approval.obligation
}

obligations["dry_run"] if input.context.dry_run

# METADATA
# title: A dry run touches nothing, so nobody must approve it - it says what the real run would need
advice["approval"] := data.broker.approval.obligation if input.context.dry_run
