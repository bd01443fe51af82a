# METADATA
# title: Model calls
# description: Which models of which providers, where, with which tools, and how much they may answer.
# custom:
#   owners: [security]
package broker.models

# METADATA
# title: What is configured here
config := data.config.models

# METADATA
# title: The action calls a named model
calling if input.action.name in config.calls

# METADATA
# title: The provider as configured; undefined for an unknown one
provider := data.config.providers[input.context.model.provider]

# METADATA
# title: Most output tokens for the model's family; undefined for a model that is not allowed
token_max := max({most | some family, most in provider.models; startswith(input.context.model.name, family)})

# METADATA
# title: The region is one of the provider's
region_allowed if input.context.model.region in provider.regions

# METADATA
# title: The tool has the forbidden name
same_tool(tool, forbidden) if tool == forbidden

# METADATA
# title: The tool is a dated version of the forbidden one
same_tool(tool, forbidden) if startswith(tool, concat("", [forbidden, "_20"]))

# METADATA
# title: The words of the header that turns on what the provider has in trial
betas contains trim_space(word) if {
	some word in split(input.action.properties.arguments.headers["anthropic-beta"], ",")
}

# METADATA
# title: The trial has the listed name
same_beta(beta, listed) if beta == listed

# METADATA
# title: The trial is a dated version of the listed one
same_beta(beta, listed) if startswith(beta, concat("", [listed, "-20"]))

# METADATA
# title: The trials that are listed
allowed_betas contains beta if {
	some beta in betas
	some listed in config.betas
	same_beta(beta, listed)
}

# METADATA
# title: The provider's tools that are listed, by name or as a dated version
allowed_tools contains tool if {
	some tool in input.action.properties.arguments.provider_tools
	some listed in config.provider_tools
	same_tool(tool, listed)
}

# METADATA
# title: The provider is not allowed
# custom:
#   reason: model.provider_not_allowed
deny contains {"code": "model.provider_not_allowed", "params": {}} if {
	calling
	not provider
}

# METADATA
# title: The provider does not offer a model of this name to us
# custom:
#   reason: model.not_allowed
deny contains {"code": "model.not_allowed", "params": {}} if {
	calling
	not token_max
}

# METADATA
# title: The provider may not be used in this region
# custom:
#   reason: model.region_not_allowed
deny contains {"code": "model.region_not_allowed", "params": {}} if {
	calling
	not region_allowed
}

# METADATA
# title: The model that is called is not the resource that is named
# custom:
#   reason: model.other_resource
deny contains {"code": "model.other_resource", "params": {}} if {
	calling
	input.context.model.name != input.resource.id
}

# METADATA
# title: A tool that acts past the gate
# custom:
#   reason: model.tool_forbidden
deny contains {"code": "model.tool_forbidden", "params": {"tool": forbidden}} if {
	some tool in input.context.model.tools
	some forbidden in config.forbidden_tools
	same_tool(tool, forbidden)
}

# METADATA
# title: A tool of the provider's own that nobody listed
# custom:
#   reason: model.provider_tool_forbidden
deny contains {"code": "model.provider_tool_forbidden", "params": {}} if {
	some tool in input.action.properties.arguments.provider_tools
	not allowed_tools[tool]
}

# METADATA
# title: A trial of the provider's that nobody listed
# custom:
#   reason: model.beta_forbidden
deny contains {"code": "model.beta_forbidden", "params": {}} if {
	some beta in betas
	not allowed_betas[beta]
}

# METADATA
# title: The call asks to be computed elsewhere than where it is routed
# custom:
#   reason: model.geo_not_routed
deny contains {"code": "model.geo_not_routed", "params": {"region": input.context.model.region}} if {
	asked := input.action.properties.arguments.inference_geo
	asked != ""
	asked != input.context.model.region
}

# METADATA
# title: The call asks for more output than allowed
# custom:
#   reason: model.max_tokens
deny contains {"code": "model.max_tokens", "params": {"max": token_max}} if {
	input.context.model.max_tokens > token_max
}
