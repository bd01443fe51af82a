package broker.redaction_test

import data.broker.fixture_test as fixture
import data.broker.redaction

test_profile_by_class if {
	redaction.obligation.profile == "default" with input as fixture.read
	redaction.obligation.profile == "strict" with input as fixture.changed(fixture.read, {"action/data_classes": ["pii", "secret"]})
	redaction.obligation.profile == "default" with input as fixture.changed(fixture.read, {"action/data_classes": []})
}

test_places_by_connector if {
	redaction.obligation.at == ["arguments", "result"] with input as fixture.read
	redaction.obligation.at == ["prompt"] with input as fixture.call
}

test_restore_by_action if {
	redaction.obligation.restore == {} with input as fixture.read
	asked := fixture.changed(fixture.read, {"action/name": "tickets.ticket.create"})
	redaction.obligation.restore == {"$.requester": ["EMAIL"]} with input as asked
}

test_a_class_without_a_profile_leaves_no_obligation if {
	not redaction.obligation with input as fixture.changed(fixture.read, {"action/data_classes": ["internal", "health"]})
}

test_a_profile_without_rank_leaves_no_obligation if {
	not redaction.obligation with input as fixture.read with data.config.disclosure.order as ["strict"]
}
