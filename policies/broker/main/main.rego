# METADATA
# title: The decision
# description: Folds what the areas say. Deny over permit; whatever is not complete is denied.
# custom:
#   owners: [security]
package broker.main

import data.broker.allowlist
import data.broker.approval
import data.broker.bounds
import data.broker.breakglass
import data.broker.denylist
import data.broker.guardrails
import data.broker.limits
import data.broker.models
import data.broker.redaction
import data.broker.remedies
import data.broker.residency
import data.broker.risk
import data.broker.timebox

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
	"risk": {"tier": risk.tier, "factors": risk.factors},
	"reasons": grounds,
	"obligations": obligations,
	"advice": advice,
} if {
	permitted
}

decision := {
	"schema": "broker.decision/v1",
	"effect": "deny",
	"risk": {"tier": risk.tier, "factors": risk.factors},
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
	allowlist.complete
	approval.settled
	obligations.limits
	obligations.redact
	obligations.cap
}

# METADATA
# title: No area of the configuration is missing
# description: Denials that read a list would be silent without it.
configured if {
	data.config.approval
	data.config.bounds
	data.config.breakglass
	data.config.denylist
	data.config.disclosure
	data.config.environments
	data.config.grants
	data.config.guardrails
	data.config.limits
	data.config.models
	data.config.providers
	data.config.remedies
	data.config.residency
	data.config.risk
	data.config.roles
	data.config.tenants
}

# METADATA
# title: Every denial of every area, with the area that gave it
denials contains object.union(reason, {"rule": concat(".", ["broker", area])}) if {
	some area, reasons in {
		"allowlist": allowlist.deny,
		"approval": approval.deny,
		"breakglass": breakglass.deny,
		"denylist": denylist.deny,
		"guardrails": guardrails.deny,
		"limits": limits.deny,
		"models": models.deny,
		"remedies": remedies.deny,
		"residency": residency.deny,
		"risk": risk.deny,
		"timebox": timebox.deny,
	}
	some reason in reasons
}

# METADATA
# title: Why a permitted request is permitted
grounds contains object.union(reason, {"rule": "broker.allowlist"}) if some reason in allowlist.granted

# METADATA
# title: A person has to approve
# custom:
#   reason: approval.required
grounds contains {"code": "approval.required", "rule": "broker.approval", "params": {"tier": risk.tier}} if {
	obligations.approval
}

# METADATA
# title: Two people opened a break-glass that covers the request
# custom:
#   reason: breakglass.used
grounds contains {"code": "breakglass.used", "rule": "broker.breakglass", "params": params} if {
	breakglass.covers
	params := {"id": input.context.breakglass.id, "until_s": input.context.breakglass.until_s}
}

# METADATA
# title: Duties of a permit
obligations["limits"] := limits.applicable if count(limits.applicable) > 0

obligations["redact"] := redaction.obligation

obligations["cap"] := bounds.cap

obligations["constrain"] := bounds.constrain

obligations["residency"] := residency.obligation

obligations["lease"] := bounds.lease if not input.context.dry_run

obligations["approval"] := object.union(approval.obligation, timebox.boxed) if not input.context.dry_run

obligations["dry_run"] if input.context.dry_run

# METADATA
# title: A dry run touches nothing, so nobody must approve it - it says what the real run would need
advice["approval"] := approval.obligation if input.context.dry_run
