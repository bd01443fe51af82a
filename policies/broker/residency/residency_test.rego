package broker.residency_test

import data.broker.fixture_test as fixture
import data.broker.residency

test_data_stays_in_its_zone if {
	asked := fixture.changed(fixture.read, {"action/data_classes": ["pii"]})
	residency.deny == set() with input as asked
	residency.obligation.regions == {"eu", "eu-central-1", "eu-west-1", "local"} with input as asked
	residency.obligation.data_classes == {"pii"} with input as asked
}

test_data_does_not_leave_its_zone if {
	asked := fixture.changed(fixture.read, {"action/data_classes": ["pii"], "context/endpoint/region": "us"})
	wanted := {{"code": "residency.region_forbidden", "params": {"class": "pii", "home": "eu", "what": "endpoint"}}}
	residency.deny == wanted with input as asked
}

test_a_prompt_is_at_home_where_the_tenant_is if {
	asked := fixture.changed(fixture.call, {"action/data_classes": ["pii"], "context/model/region": "us"})
	wanted := {{"code": "residency.region_forbidden", "params": {"class": "pii", "home": "eu", "what": "model"}}}
	residency.deny == wanted with input as asked
	residency.deny == set() with input as fixture.changed(asked, {"subject/tenant": "acme"})
}

test_unknown_facts if {
	class := fixture.changed(fixture.read, {"action/data_classes": ["odd"]})
	fixture.codes(residency.deny) == {"residency.class_unknown"} with input as class
	home := fixture.changed(fixture.read, {"resource/region": "odd"})
	fixture.codes(residency.deny) == {"residency.home_unknown"} with input as home
	region := fixture.changed(fixture.read, {"context/endpoint/region": "odd"})
	fixture.codes(residency.deny) == {"residency.region_unknown"} with input as region
}

test_a_provider_is_cleared_by_class if {
	asked := fixture.changed(fixture.call, {"action/data_classes": ["secret"]})
	residency.deny == {{"code": "residency.provider_forbidden", "params": {"class": "secret"}}} with input as asked
}

test_without_classes_there_is_no_duty if {
	asked := fixture.changed(fixture.read, {"action/data_classes": []})
	residency.deny == set() with input as asked
	not residency.obligation with input as asked
}
