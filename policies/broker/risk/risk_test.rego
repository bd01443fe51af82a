package broker.risk_test

import data.broker.fixture_test as fixture
import data.broker.risk

test_reads_are_0 if {
	risk.tier == 0 with input as fixture.read
	risk.factors == {"effect.read", "environment.production"} with input as fixture.read
}

test_the_matrix if {
	every case in [
		{"reversibility": "reversible", "env": "prod", "tier": 2},
		{"reversibility": "compensable", "env": "prod", "tier": 2},
		{"reversibility": "irreversible", "env": "prod", "tier": 3},
		{"reversibility": "reversible", "env": "staging", "tier": 1},
		{"reversibility": "compensable", "env": "staging", "tier": 1},
		{"reversibility": "irreversible", "env": "staging", "tier": 2},
	] {
		asked := fixture.changed(fixture.write, {"action/reversibility": case.reversibility, "resource/env": case.env})
		risk.tier == case.tier with input as asked
	}
}

test_unknown_is_4 if {
	asked := fixture.changed(fixture.write, {"action/known": false})
	risk.tier == 4 with input as asked
	fixture.codes(risk.deny) == {"risk.unknown"} with input as asked
	"facts.unknown" in risk.factors with input as asked
}

test_a_word_that_the_matrix_lacks_is_4 if {
	risk.tier == 4 with input as fixture.changed(fixture.write, {"action/reversibility": "maybe"})
}

test_fixed_and_floor if {
	fixed := fixture.changed(fixture.write, {"action/name": "gate.review.create"})
	risk.tier == 1 with input as fixed
	"action.fixed" in risk.factors with input as fixed
	raised := fixture.changed(fixture.write, {"action/name": "local.config.write", "resource/env": "staging"})
	risk.tier == 2 with input as raised
	"action.floor" in risk.factors with input as raised
}

test_critical_targets_rise if {
	asked := fixture.changed(fixture.write, {"resource/labels": {"tier": "critical"}})
	risk.tier == 3 with input as asked
	"target.critical" in risk.factors with input as asked
	fixture.codes(risk.deny) == {"risk.manual_only"} with input as asked
	risk.deny == set() with input as fixture.changed(asked, {"subject/parties": [fixture.person]})
}

test_nothing_rises_above_3 if {
	asked := fixture.changed(fixture.write, {"action/reversibility": "irreversible", "resource/labels": {"tier": "critical"}})
	risk.tier == 3 with input as asked
}

test_busy_requesters_need_a_person if {
	asked := fixture.changed(fixture.write, {"resource/env": "staging", "context/usage/writes_today": 50})
	risk.tier == 2 with input as asked
	"requester.busy" in risk.factors with input as asked
}

safe := fixture.changed(fixture.remedy, {
	"action/name": "local.cache.clear",
	"action/reversibility": "reversible",
	"action/idempotent": true,
})

test_a_safe_remedy_is_automatic if {
	risk.tier == 1 with input as safe
	"remedy.automatic" in risk.factors with input as safe
	risk.tier == 1 with input as fixture.changed(safe, {"context/tainted": false, "action/remedy/derived": false})
}

test_what_lacks_anything_is_not_automatic if {
	every path, value in {
		"action/name": "local.process.restart",
		"action/reversibility": "compensable",
		"action/idempotent": false,
		"action/remedy/derived": false,
		"context/incident/id": "",
		"context/evidence/verdict": "inconclusive",
		"context/evidence/confidence_milli": 849,
		"context/evidence/about": 1,
		"context/evidence/independent": 1,
		"subject/parties": [fixture.person],
	} {
		risk.tier == 2 with input as fixture.changed(safe, {path: value})
	}
}

test_a_remedy_that_is_not_waits_in_every_environment if {
	there := {"resource/env": "staging", "context/incident/env": "staging", "action/reversibility": "reversible"}
	risk.tier == 2 with input as fixture.changed(fixture.remedy, there)
}

test_a_safe_remedy_on_a_critical_target_is_not if {
	risk.tier == 3 with input as fixture.changed(safe, {"resource/labels": {"tier": "critical"}})
}

test_undoing_is_automatic if {
	undoing := fixture.changed(fixture.remedy, {
		"subject/acting": {"id": "gate:verifier", "type": "workload"},
		"context/rollback": {"of": "act_a", "valid": true},
		"resource/labels": {"tier": "critical"},
	})
	risk.tier == 1 with input as undoing
	"remedy.undoing" in risk.factors with input as undoing
	risk.tier == 3 with input as fixture.changed(undoing, {"context/rollback/valid": false})
	risk.tier == 4 with input as fixture.changed(undoing, {"resource/known": false})
}
