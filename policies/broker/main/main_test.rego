package broker.main_test

import data.broker.fixture_test as fixture
import data.broker.main

incomplete := {"policy.incomplete"}

test_a_permit if {
	main.decision.effect == "permit" with input as fixture.read
	main.decision.risk.tier == 0 with input as fixture.read
	object.keys(main.decision.obligations) == {"cap", "constrain", "limits", "redact", "residency"} with input as fixture.read
}

test_a_permit_that_waits if {
	fixture.codes(main.decision.reasons) == {"allowlist.granted", "approval.required"} with input as fixture.write
	main.decision.obligations.approval.quorum == 1 with input as fixture.write
	main.decision.advice == {} with input as fixture.write
}

test_a_dry_run if {
	asked := fixture.changed(fixture.write, {"context/dry_run": true})
	object.keys(main.decision.obligations) == {"cap", "dry_run", "limits", "redact", "residency"} with input as asked
	main.decision.advice.approval.roles == ["oncall", "security"] with input as asked
}

test_a_denial if {
	asked := fixture.changed(fixture.write, {"context/killed": true})
	main.decision.effect == "deny" with input as asked
	main.decision.reasons == {{"code": "kill.stopped", "rule": "broker.guardrails", "params": {}}} with input as asked
	main.decision.obligations == {} with input as asked
}

# A permit whose parts are not all there is a denial, one part at a time.

test_without_a_known_version if {
	fixture.codes(main.decision.reasons) == incomplete with input as fixture.changed(fixture.read, {"schema": "broker.input/v2"})
}

test_without_an_area_of_the_configuration if {
	decision := main.decision with input as fixture.read with data.config as object.remove(data.config, ["denylist"])
	fixture.codes(decision.reasons) == incomplete
}

test_without_cover if {
	fixture.codes(main.decision.reasons) == incomplete with input as fixture.read with data.broker.allowlist.complete as false
	fixture.codes(main.decision.reasons) == incomplete with input as fixture.read with data.broker.approval.settled as false
}

test_without_limits if {
	decision := main.decision with input as fixture.read with data.broker.limits.applicable as set() with data.broker.limits.deny as set()
	fixture.codes(decision.reasons) == incomplete
}

test_without_redaction if {
	decision := main.decision with input as fixture.read with data.config.disclosure.order as []
	fixture.codes(decision.reasons) == incomplete
}

test_without_a_cap if {
	decision := main.decision with input as fixture.read with data.config.bounds.cap as false
	fixture.codes(decision.reasons) == incomplete
}
