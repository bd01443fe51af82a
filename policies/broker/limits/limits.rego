# METADATA
# title: Limits
# description: Which buckets apply and how big they are. The gate counts.
# custom:
#   owners: [security]
package broker.limits

# METADATA
# title: Buckets that apply to this request
applicable contains limit if {
	tier := data.broker.risk.tier
	some name, bucket in data.config.limits
	tier in bucket.tiers
	input.subject.acting.type in bucket.holders
	some beginning in bucket.actions
	startswith(input.action.name, beginning)
	not spares(bucket)

	# Outside a session there is nothing to count per session.
	[bucket.scope, input.subject.session] != ["session", ""]
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
# title: The bucket leaves this action out
spares(bucket) if {
	some beginning in bucket.except
	startswith(input.action.name, beginning)
}

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
	data.broker.risk.tier < 4
	count(applicable) == 0
}
