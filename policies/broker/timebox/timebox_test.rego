package broker.timebox_test

import data.broker.fixture_test as fixture
import data.broker.main
import data.broker.timebox

silence := fixture.changed(fixture.remedy, {
	"action/name": "local.cache.clear",
	"action/reversibility": "reversible",
	"context/evidence/confidence_milli": 800,
	"context/incident/state": "awaiting_approval",
	"context/now_s": 1767607200,
	"context/time_box": {"counts": true, "told": true, "acknowledged": ["oncall"], "over": true, "today": 0},
})

test_as_shipped_silence_is_never_a_yes if {
	fixture.codes(timebox.deny) == {"timebox.off"} with input as silence
	timebox.boxed == {} with input as silence
}

test_where_it_is_switched_on_it_is_part_of_the_approval if {
	main.decision.obligations.approval.time_box.seconds == 300 with input as silence
		with data.config.approval.time_box.enabled as true
}

test_nothing_is_lacking_where_nobody_waits_for_silence if {
	asked := fixture.changed(fixture.write, {"context/time_box/today": 3})
	timebox.deny == set() with input as asked
	"timebox.used_up" in fixture.codes(timebox.lacking) with input as asked
}

test_a_day_has_its_hours if {
	timebox.awake with input as silence
	night := fixture.changed(silence, {"context/now_s": 1767646800})
	not timebox.awake with input as night
}
