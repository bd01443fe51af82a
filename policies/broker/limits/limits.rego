# METADATA
# title: Limits
# description: Which buckets apply and how big they are. The gate counts.
# custom:
#   owners: [security]
package broker.limits

import data.broker.risk

# METADATA
# title: Buckets that apply to this request
applicable contains limit if {
	some name, bucket in data.config.limits
	risk.tier in bucket.tiers
	input.subject.acting.type in bucket.holders
	some beginning in bucket.actions
	startswith(input.action.name, beginning)
	not spared[name]
	scoped(bucket.scope)
	limit := {
		"name": name,
		"scope": bucket.scope,
		"max": bucket.max,
		"window_s": bucket.window_s,
		"burst": bucket.burst,
		"cost": costs[bucket.cost],
	}
}

# METADATA
# title: Buckets that leave this action out
spared contains name if {
	some name, bucket in data.config.limits
	some beginning in bucket.except
	startswith(input.action.name, beginning)
}

# METADATA
# title: Outside a session there is nothing to count per session
# scope: document
scoped("session") if input.subject.session != ""

scoped(scope) if scope != "session"

# METADATA
# title: What one request costs, by the bucket's way of counting
# scope: document
costs["action"] := input.action.cost

costs["max_tokens"] := input.context.model.max_tokens

# METADATA
# title: No bucket covers the request, so nothing would bound it
# custom:
#   reason: limits.none
deny contains {"code": "limits.none", "params": {}} if {
	risk.tier < 4
	count(applicable) == 0
}
