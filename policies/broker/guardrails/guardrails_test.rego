package broker.guardrails_test

import data.broker.fixture_test as fixture
import data.broker.guardrails

test_well_formed_requests_pass if {
	guardrails.deny == set() with input as fixture.read
	guardrails.deny == set() with input as fixture.write
	guardrails.deny == set() with input as fixture.call
}

test_each_unknown_fact_is_a_denial if {
	every path, case in {
		"action/known": {"value": false, "code": "action.unknown"},
		"resource/known": {"value": false, "code": "resource.unknown"},
		"resource/tenant": {"value": "acme", "code": "resource.other_tenant"},
		"resource/env": {"value": "moon", "code": "environment.unknown"},
	} {
		fixture.codes(guardrails.deny) == {case.code} with input as fixture.changed(fixture.read, {path: case.value})
	}
}

test_unknown_tenant if {
	asked := fixture.changed(fixture.read, {"subject/tenant": "nobody", "resource/tenant": "nobody"})
	fixture.codes(guardrails.deny) == {"tenant.unknown"} with input as asked
}

test_a_stopped_agent_does_nothing if {
	asked := fixture.changed(fixture.read, {"context/killed": true, "action/name": "gate.actions.read"})
	fixture.codes(guardrails.deny) == {"kill.stopped"} with input as asked
}

test_a_person_looks_while_stopped if {
	asked := fixture.changed(fixture.read, {
		"context/killed": true,
		"action/name": "gate.actions.read",
		"subject/parties": [fixture.person],
	})
	guardrails.deny == set() with input as asked
}

resume(target) := fixture.changed(fixture.write, {
	"action/name": "gate.kill.resume",
	"action/properties/arguments": {"scope": "agent", "target": target},
	"subject/parties": [fixture.person],
	"subject/auth_age_s": 10,
})

test_resuming if {
	guardrails.deny == set() with input as resume("dev:agent-1")
	fixture.codes(guardrails.deny) == {"kill.resume_self"} with input as resume("dev:oncall-1")
}

test_resuming_needs_presence if {
	old := fixture.changed(resume("dev:agent-1"), {"subject/auth_age_s": 3601})
	guardrails.deny == {{"code": "identity.presence_not_fresh", "params": {"seconds": 3600}}} with input as old
	unknown := fixture.changed(resume("dev:agent-1"), {"subject/auth_age_s": -1})
	guardrails.deny == {{"code": "identity.presence_unknown", "params": {"seconds": 3600}}} with input as unknown
}

test_resuming_needs_a_person if {
	asked := fixture.changed(resume("dev:agent-2"), {"subject/parties": fixture.read.subject.parties})
	fixture.codes(guardrails.deny) == {"identity.person_required"} with input as asked
}

sending(provenance) := fixture.changed(fixture.write, {
	"context/tainted": true,
	"context/provenance": provenance,
	"action/destinations": ["to"],
	"action/properties/arguments": {"to": "ops@example.org"},
})

test_taint if {
	guardrails.deny == set() with input as sending({"$.to": "trusted"})
	fixture.codes(guardrails.deny) == {"taint.untrusted_destination"} with input as sending({"$.to": "untrusted"})
	fixture.codes(guardrails.deny) == {"taint.untrusted_destination"} with input as sending({})
}

test_an_agent_reads_untrusted_text_in_a_session if {
	inside := fixture.changed(fixture.read, {"action/untrusted_result": true})
	guardrails.deny == set() with input as inside
	outside := fixture.changed(inside, {"subject/session": ""})
	fixture.codes(guardrails.deny) == {"taint.session_required"} with input as outside
	guardrails.deny == set() with input as fixture.changed(outside, {"subject/parties": [fixture.person]})
}

test_a_write_says_why if {
	asked := fixture.changed(fixture.write, {"action/properties/reason": " "})
	fixture.codes(guardrails.deny) == {"reason.missing"} with input as asked
	waived := fixture.changed(asked, {"action/name": "gate.session.open"})
	guardrails.deny == set() with input as waived
}

test_an_agent_needs_a_session if {
	outside := {"subject/session": ""}
	fixture.codes(guardrails.deny) == {"session.required"} with input as fixture.changed(fixture.write, outside)
	fixture.codes(guardrails.deny) == {"session.required"} with input as fixture.changed(fixture.call, outside)
	guardrails.deny == set() with input as fixture.changed(fixture.read, outside)
}

citing(evidence) := fixture.changed(fixture.write, {
	"action/properties/diagnosis": "dia_1",
	"context/evidence": object.union({"diagnosis": "dia_1", "verified": 1, "refuted": 0, "sources": 1}, evidence),
})

test_evidence if {
	guardrails.deny == set() with input as citing({})
	fixture.codes(guardrails.deny) == {"evidence.unknown_diagnosis"} with input as citing({"diagnosis": "dia_2"})
	fixture.codes(guardrails.deny) == {"evidence.refuted"} with input as citing({"refuted": 1})
	guardrails.deny == {{"code": "evidence.too_thin", "params": {"needs": "sources"}}} with input as citing({"sources": 0})
	guardrails.deny == {{"code": "evidence.too_thin", "params": {"needs": "verified"}}} with input as citing({"verified": 0})
}

called(turn) := fixture.changed(fixture.read, {"context/turn": object.union({"tool_call": true}, turn)})

test_calls_of_listed_ones_come_from_relayed_turns if {
	every turns in [
		{"tenants": ["default"], "parties": [], "connectors": []},
		{"tenants": [], "parties": ["dev:agent-1"], "connectors": []},
		{"tenants": [], "parties": [], "connectors": ["local"]},
	] {
		fixture.codes(guardrails.deny) == {"turn.not_relayed"} with input as called({"relayed": false, "matches": false})
			with data.config.guardrails.turns as turns
		fixture.codes(guardrails.deny) == {"turn.other_call"} with input as called({"relayed": true, "matches": false})
			with data.config.guardrails.turns as turns
		guardrails.deny == set() with input as called({"relayed": true, "matches": true})
			with data.config.guardrails.turns as turns
		guardrails.deny == set() with input as fixture.read with data.config.guardrails.turns as turns
	}
}
