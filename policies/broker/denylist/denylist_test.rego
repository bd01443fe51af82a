package broker.denylist_test

import data.broker.denylist
import data.broker.fixture_test as fixture

test_others_pass if {
	denylist.deny == set() with input as fixture.write
}

test_a_party_is_refused if {
	parties := [{"id": "dev:agent-retired", "type": "agent", "roles": ["agent"]}]
	asked := fixture.changed(fixture.read, {"subject/parties": parties})
	denylist.deny == {{"code": "denylist.party", "params": {"party": "dev:agent-retired"}}} with input as asked
}

test_an_exact_target_is_refused if {
	asked := fixture.changed(fixture.read, {"resource/type": "database", "resource/id": "payments"})
	denylist.deny == {{"code": "denylist.resource", "params": {"entry": "payments-database"}}} with input as asked
}

test_a_prefix_is_refused if {
	asked := fixture.changed(fixture.read, {"resource/type": "config", "resource/id": "secrets-of-payments"})
	denylist.deny == {{"code": "denylist.resource", "params": {"entry": "production-secrets"}}} with input as asked
}
