package broker.allowlist_test

import data.broker.allowlist
import data.broker.fixture_test as fixture

test_an_agent_uses_its_grant if {
	allowlist.deny == set() with input as fixture.read
	allowlist.complete with input as fixture.read
	allowlist.granted == {{"code": "allowlist.granted", "params": {"party": "dev:agent-1", "role": "agent"}}} with input as fixture.read
}

test_without_a_role_nothing_is_granted if {
	asked := fixture.changed(fixture.read, {"subject/parties/0/roles": []})
	fixture.codes(allowlist.deny) == {"allowlist.action_not_granted"} with input as asked
	not allowlist.complete with input as asked
}

test_another_environment_is_not_granted if {
	asked := fixture.changed(fixture.read, {"resource/env": "dev"})
	fixture.codes(allowlist.deny) == {"allowlist.environment_not_granted"} with input as asked
}

test_another_resource_type_is_not_granted if {
	asked := fixture.changed(fixture.read, {"resource/type": "host"})
	fixture.codes(allowlist.deny) == {"allowlist.resource_type_not_granted"} with input as asked
}

test_each_party_needs_a_grant if {
	both := [{"id": "dev:auditor-1", "type": "human", "roles": ["auditor"]}, {"id": "dev:agent-1", "type": "agent", "roles": ["agent"]}]
	asked := fixture.changed(fixture.read, {"subject/parties": both})
	allowlist.deny == {{"code": "allowlist.action_not_granted", "params": {"party": "dev:auditor-1"}}} with input as asked
	not allowlist.complete with input as asked
}

test_a_new_grant_is_data if {
	grants := {"agent": {"local.metrics.query": {"environments": ["dev"], "resource_types": ["process"]}}}
	asked := fixture.changed(fixture.read, {"resource/env": "dev"})
	allowlist.deny == set() with input as asked with data.config.grants as grants
}
