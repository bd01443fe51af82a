package broker.breakglass_test

import data.broker.approval
import data.broker.breakglass
import data.broker.fixture_test as fixture
import data.broker.main
import data.broker.risk

glass := {
	"id": "bgl_a",
	"actions": [fixture.write.action.name],
	"targets": [{"type": fixture.write.resource.type, "id": fixture.write.resource.id, "env": fixture.write.resource.env}],
	"people": [party.id | some party in fixture.write.subject.parties],
	"until_s": fixture.write.context.now_s + 1,
	"overdue": false,
}

with_glass(changes) := fixture.changed(fixture.write, {"context/breakglass": object.union(glass, changes)})

test_it_spares_the_wait_for_an_approval if {
	asked := with_glass({})
	breakglass.covers with input as asked
	not approval.obligation with input as asked
	approval.settled with input as asked
	fixture.codes(main.decision.reasons) == {"allowlist.granted", "breakglass.used"} with input as asked
	"breakglass.open" in risk.factors with input as asked
}

test_it_covers_nothing_else if {
	not breakglass.covers with input as fixture.write
	not breakglass.covers with input as with_glass({"until_s": fixture.write.context.now_s})
	not breakglass.covers with input as with_glass({"actions": []})
	not breakglass.covers with input as with_glass({"targets": []})
	not breakglass.covers with input as with_glass({"people": []})
	not breakglass.covers with input as with_glass({}) with data.config.breakglass.never as ["local."]
}

test_a_review_that_is_overdue_keeps_the_next_one_shut if {
	asked := fixture.changed(with_glass({"overdue": true}), {"action/name": "gate.breakglass.open"})
	fixture.codes(breakglass.deny) == {"breakglass.review_overdue"} with input as asked
	breakglass.deny == set() with input as asked with data.config.breakglass.open_while_overdue as true
	breakglass.deny == set() with input as with_glass({"overdue": true})
}
