package broker.bounds_test

import data.broker.bounds
import data.broker.fixture_test as fixture

test_bounds_of_an_action if {
	bounds.constrain == {"arguments": {"series_max": {"max": 200}}} with input as fixture.read
	not bounds.constrain with input as fixture.write
}

test_cap if {
	bounds.cap == {"bytes": 65536, "rows": 1000} with input as fixture.read
	bounds.cap.bytes == 4194304 with input as fixture.call
}

test_lease if {
	bounds.lease == {"keys": {"process/prod/checkout"}, "seconds": 120} with input as fixture.write
	not bounds.lease with input as fixture.read
	not bounds.lease with input as fixture.changed(fixture.write, {"action/connector": "gate"})
}

test_a_remedy_holds_the_dependents_too if {
	held := {"process/prod/checkout", "process/prod/storefront"}
	bounds.lease.keys == held with input as fixture.remedy
	settings := {"resource/type": "config"}
	bounds.lease.keys == held | {"config/prod/checkout"} with input as fixture.changed(fixture.remedy, settings)
}
