package broker.models_test

import data.broker.fixture_test as fixture
import data.broker.models

test_an_allowed_call if {
	models.deny == set() with input as fixture.call
}

test_other_actions_are_no_calls if {
	models.deny == set() with input as fixture.read
}

test_each_limit_of_a_call if {
	every path, case in {
		"context/model/tools": {"value": ["web_search_20260101"], "code": "model.tool_forbidden"},
		"context/model/max_tokens": {"value": 64001, "code": "model.max_tokens"},
		"context/model/region": {"value": "moon", "code": "model.region_not_allowed"},
		"resource/id": {"value": "claude-haiku-5-5", "code": "model.other_resource"},
	} {
		fixture.codes(models.deny) == {case.code} with input as fixture.changed(fixture.call, {path: case.value})
	}
}

test_a_model_of_no_family if {
	asked := fixture.changed(fixture.call, {"context/model/name": "other", "resource/id": "other"})
	fixture.codes(models.deny) == {"model.not_allowed"} with input as asked
}

test_an_unknown_provider if {
	asked := fixture.changed(fixture.call, {"context/model/provider": "other"})
	wanted := {"model.not_allowed", "model.provider_not_allowed", "model.region_not_allowed"}
	fixture.codes(models.deny) == wanted with input as asked
}

test_a_tool_by_its_exact_name if {
	fixture.codes(models.deny) == {"model.tool_forbidden"} with input as fixture.changed(fixture.call, {"context/model/tools": ["bash"]})
}

test_trials_of_the_provider if {
	every words, wanted in {
		"claude-code-20250219, pdfs": set(),
		"pdfs,mcp-client-2025-11-20": {"model.beta_forbidden"},
		"pdfs-19": {"model.beta_forbidden"},
		"pdfs,": {"model.beta_forbidden"},
	} {
		asked := fixture.changed(fixture.call, {"action/properties/arguments": {"headers": {"anthropic-beta": words}}})
		fixture.codes(models.deny) == wanted with input as asked
	}
}

test_tools_of_the_provider if {
	every tool, wanted in {
		"tool_search_tool_regex": set(),
		"tool_search_tool_regex_20251119": set(),
		"advisor_20260301": {"model.provider_tool_forbidden"},
	} {
		asked := fixture.changed(fixture.call, {"action/properties/arguments": {"provider_tools": [tool]}})
		fixture.codes(models.deny) == wanted with input as asked
	}
}

test_where_it_is_computed if {
	every asked_for, wanted in {"": set(), "eu": set(), "us": {"model.geo_not_routed"}} {
		asked := fixture.changed(fixture.call, {"action/properties/arguments": {"inference_geo": asked_for}})
		fixture.codes(models.deny) == wanted with input as asked
	}
}
