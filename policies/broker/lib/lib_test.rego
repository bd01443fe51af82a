package broker.lib_test

import data.broker.fixture_test as fixture
import data.broker.lib

test_a_role_counts_only_for_its_holders if {
	lib.roles == {0: {"agent"}} with input as fixture.read
	not lib.roles[0] with input as fixture.changed(fixture.read, {"subject/parties/0/roles": ["security", "root"]})
}

test_facts if {
	lib.machine_involved with input as fixture.read
	not lib.machine_involved with input as fixture.changed(fixture.read, {"subject/parties": [fixture.person]})
	lib.writing with input as fixture.write
	not lib.writing with input as fixture.read
	lib.tenant.home == "eu" with input as fixture.read
	lib.environment.class == "production" with input as fixture.read
}

test_a_role_that_is_kept_counts_only_for_whom_it_is_kept if {
	verifier := {"id": "gate:verifier", "type": "workload", "roles": ["gate"]}
	lib.roles == {0: {"gate"}} with input as fixture.changed(fixture.read, {"subject/parties": [verifier]})
	stranger := object.union(verifier, {"id": "dev:probe"})
	not lib.roles[0] with input as fixture.changed(fixture.read, {"subject/parties": [stranger]})
}

test_the_gate_itself if {
	lib.own with input as fixture.changed(fixture.read, {"subject/acting": {"id": "gate:verifier", "type": "workload"}})
	not lib.own with input as fixture.changed(fixture.read, {"subject/acting": {"id": "gate:verifier", "type": "agent"}})
	not lib.own with input as fixture.read
}
