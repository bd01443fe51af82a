# METADATA
# title: What may be asked of the OPA server
# description: One decision, by the gate, with exactly its parameters; and whether the server lives. Nothing else.
package system.authz

default allow := false

allow if {
	input.method == "POST"
	input.path == ["v1", "data", "broker", "main", "decision"]
	input.params == {"provenance": ["true"], "strict-builtin-errors": ["true"]}
}

allow if {
	input.method == "GET"
	input.path == ["health"]
	object.keys(input.params) & {"bundles", "plugins"} == object.keys(input.params)
}
