package broker.limits_test

import data.broker.fixture_test as fixture
import data.broker.limits

names(applicable) := {limit.name | some limit in applicable}

test_reads if {
	names(limits.applicable) == {"reads", "reads-of-tenant"} with input as fixture.read
}

test_writes if {
	names(limits.applicable) == {"writes-approved", "writes-of-tenant", "writes-on-resource"} with input as fixture.write
}

test_model_calls_count_tokens if {
	names(limits.applicable) == {"model-calls", "model-tokens"} with input as fixture.call
	some limit in limits.applicable with input as fixture.call
	limit.name == "model-tokens"
	limit.cost == 100
}

test_no_session_no_session_bucket if {
	names(limits.applicable) == {"model-calls"} with input as fixture.changed(fixture.call, {"subject/session": ""})
}

test_uncovered_requests_are_denied if {
	asked := fixture.changed(fixture.write, {"subject/acting/type": "workload"})
	fixture.codes(limits.deny) == {"limits.none"} with input as asked
}

test_unknown_requests_are_denied_elsewhere if {
	limits.deny == set() with input as fixture.changed(fixture.write, {"action/known": false})
}
