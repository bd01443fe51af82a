package broker.remedies_test

import data.broker.fixture_test as fixture
import data.broker.remedies

but(values) := fixture.changed(fixture.remedy, values)

test_a_sound_remedy_passes if {
	remedies.deny == set() with input as fixture.remedy
}

test_outside_of_an_incident_nothing_of_it_holds if {
	remedies.deny == set() with input as fixture.write
	remedies.deny == set() with input as fixture.read
}

test_the_evidence if {
	fixture.codes(remedies.deny) == {"evidence.no_diagnosis"} with input as but({"action/properties/diagnosis": ""})
	fixture.codes(remedies.deny) == {"evidence.inconclusive"} with input as but({"context/evidence/verdict": "inconclusive"})
	fixture.codes(remedies.deny) == {"evidence.other_resource"} with input as but({"context/evidence/matches": false})
	every needs in ["verified", "sources", "signals"] {
		fixture.codes(remedies.deny) == {"evidence.below_minimum"} with input as but({concat("/", ["context/evidence", needs]): 1})
	}
	fixture.codes(remedies.deny) == {"evidence.below_minimum"} with input as but({"context/evidence/about": 0})
	fixture.codes(remedies.deny) == set() with input as but({"context/evidence/about": 1})
}

test_the_catalogue if {
	fixture.codes(remedies.deny) == {"remedy.not_listed"} with input as but({"action/remedy/known": false})
	fixture.codes(remedies.deny) == {"remedy.other_fault"} with input as but({"context/evidence/fault": "bad_change"})
	fixture.codes(remedies.deny) == {"remedy.precondition"} with input as but({"action/remedy/ready": false})
}

test_the_incident if {
	fixture.codes(remedies.deny) == {"incident.wrong_state"} with input as but({"context/incident/state": "investigating"})
	fixture.codes(remedies.deny) == {"incident.other_environment"} with input as but({"context/incident/env": "staging"})
	fixture.codes(remedies.deny) == {"work.required"} with input as but({"context/work": {"given": false, "valid": false}})
	fixture.codes(remedies.deny) == {"work.stale"} with input as but({"context/work/valid": false})
}

test_a_model_stands_for_no_environment if {
	remedies.deny == set() with input as fixture.changed(fixture.call, {"context/incident/id": "inc_1", "context/incident/env": "staging"})
}

other(values) := but({"context/incident/others": [object.union(
	{"severity": 3, "same_target": false, "dependent": false, "older": false, "state": "investigating"},
	values,
)]})

test_two_incidents_on_one_target if {
	fixture.codes(remedies.deny) == set() with input as other({})
	fixture.codes(remedies.deny) == {"incident.conflict"} with input as other({"same_target": true, "severity": 4})
	fixture.codes(remedies.deny) == {"incident.conflict"} with input as other({"dependent": true, "severity": 4})
	fixture.codes(remedies.deny) == {"incident.conflict"} with input as other({"same_target": true, "older": true})
	fixture.codes(remedies.deny) == set() with input as other({"same_target": true})
	fixture.codes(remedies.deny) == set() with input as other({"same_target": true, "severity": 2, "older": true})
	fixture.codes(remedies.deny) == {"incident.conflict"} with input as other({"same_target": true, "severity": 1, "state": "executing"})
	fixture.codes(remedies.deny) == set() with input as other({"same_target": true, "severity": 4, "state": "escalated"})
	deny := remedies.deny with input as other({"dependent": true, "older": true})
	deny == {{"code": "incident.conflict", "params": {"retry_s": 20}}}
}

test_rest_and_caps if {
	deny := remedies.deny with input as but({"context/now_s": 1000, "context/target/last_write_s": 800})
	deny == {{"code": "remedy.cooldown", "params": {"retry_s": 100}}}
	fixture.codes(remedies.deny) == set() with input as but({"context/now_s": 1100, "context/target/last_write_s": 800})
	fixture.codes(remedies.deny) == {"remedy.hourly_cap"} with input as but({"context/target/writes_hour": 3})
	fixture.codes(remedies.deny) == {"remedy.breaker_open"} with input as but({"context/target/ineffective": 2})
	fixture.codes(remedies.deny) == {"remedy.oscillating"} with input as but({"context/target/oscillating": true})
}

test_the_gate_itself if {
	own := but({
		"subject/acting": {"id": "gate:verifier", "type": "workload"},
		"subject/parties": [{"id": "gate:verifier", "type": "workload", "roles": ["gate"]}],
		"context/evidence/verdict": "",
	})
	fixture.codes(remedies.deny) == {"remedy.not_a_rollback"} with input as own
	fixture.codes(remedies.deny) == set() with input as fixture.changed(own, {"context/rollback": {"of": "act_a", "valid": true}})
}

test_acts_of_the_gate_are_no_remedies if {
	note := but({"action/name": "gate.incidents.note", "context/evidence/verdict": "", "context/incident/state": "triaging"})
	remedies.deny == set() with input as note
}
