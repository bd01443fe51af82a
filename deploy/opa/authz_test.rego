package system.authz_test

import data.system.authz

decision := {
	"method": "POST",
	"path": ["v1", "data", "broker", "main", "decision"],
	"params": {"provenance": ["true"], "strict-builtin-errors": ["true"]},
}

test_the_gates_question_is_allowed if authz.allow with input as decision

test_health_is_allowed if {
	authz.allow with input as {"method": "GET", "path": ["health"], "params": {}}
	authz.allow with input as {"method": "GET", "path": ["health"], "params": {"bundles": [""]}}
}

test_explaining_is_refused if {
	params := object.union(decision.params, {"explain": ["full"]})
	not authz.allow with input as object.union(decision, {"params": params})
}

test_another_parameter_value_is_refused if {
	params := {"provenance": ["false"], "strict-builtin-errors": ["true"]}
	not authz.allow with input as object.union(decision, {"params": params})
}

test_other_methods_are_refused if {
	some method in ["GET", "PUT", "PATCH", "DELETE", "HEAD"]
	not authz.allow with input as object.union(decision, {"method": method})
}

test_other_paths_are_refused if {
	every path in [
		["v0", "data", "broker", "main", "decision"],
		["v1", "data"],
		["v1", "data", "broker", "main"],
		["v1", "data", "broker", "main", "decision", "effect"],
		["v1", "policies"],
		["v1", "query"],
		["v1", "compile"],
		["v1", "config"],
		["metrics"],
	] {
		not authz.allow with input as object.union(decision, {"path": path})
	}
}
