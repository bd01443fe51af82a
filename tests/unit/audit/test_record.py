"""Kinds, fields and classes of records."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import record
from audit.errors import RecordInvalid
from audit.record import FIELDS, KINDS, Draft, pseudonym
from tests.unit.audit.room import ACTOR, DIGEST, ORIGIN, START_NS, TENANT, intent, outcome


def refuse(draft: Draft, field: str) -> RecordInvalid:
    with pytest.raises(RecordInvalid) as caught:
        record.prepare(ORIGIN, TENANT, draft)
    assert caught.value.field == field
    return caught.value


def with_body(**more: Any) -> Draft:
    return dataclasses.replace(intent("ev-1"), body={**intent("ev-1").body, **more})


def test_an_intent_of_the_gate_is_accepted() -> None:
    record.prepare(ORIGIN, TENANT, intent("ev-1"))
    record.prepare(ORIGIN, TENANT, outcome("ev-2", "ev-1"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"note": "free text"}, "body.note"),
        ({"actor": {**ACTOR, "email": "x"}}, "body.actor.email"),
        ({"action": "restart"}, "body.action"),
        ({"action": {"name": {"a": 1}}}, "body.action.name"),
        ({"limits": {"rows": {"max": 1}}}, "body.limits"),
        ({"limits": {"rows": -1}}, "body.limits"),
        ({"decision": {"effect": "permit", "tier": "2"}}, "body.decision.tier"),
        ({"decision": {"effect": "permit", "tier": True}}, "body.decision.tier"),
        ({"decision": {"effect": "permit", "reasons": "one"}}, "body.decision.reasons"),
        ({"decision": {"effect": "permit", "reasons": ["a"] * 65}}, "body.decision.reasons"),
        ({"trace": {"trace_id": "xyz"}}, "body.trace.trace_id"),
        ({"request_digest": "sha256:short"}, "body.request_digest"),
        ({"grant": {"expires_ns": "01"}}, "body.grant.expires_ns"),
    ],
)
def test_a_field_that_nobody_classified_or_of_another_type_is_refused(more: dict[str, Any], field: str) -> None:
    refuse(with_body(**more), field)


@pytest.mark.parametrize(
    "content", ["jane@example.org", "two words", "line\nbreak", "", "ümlaut", "x" * 129, "<b>", '"', "a,b"]
)
def test_content_does_not_fit_where_a_code_belongs(content: str) -> None:
    refuse(with_body(action={"name": content}), "body.action.name")


def test_a_name_does_not_fit_where_a_pseudonym_belongs() -> None:
    refused = refuse(with_body(actor={**ACTOR, "ref": "jane.doe"}), "body.actor.ref")
    assert "audit.record.pseudonym" in refused.remedy


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_without_what_it_needs_is_refused(kind: str) -> None:
    with pytest.raises(RecordInvalid, match="is missing"):
        record.prepare(ORIGIN, TENANT, Draft(kind, "ev-1", START_NS))


def test_an_unknown_kind_is_refused() -> None:
    refuse(Draft("note", "ev-1", START_NS), "kind")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "two words"}, "id"),
        ({"id": ""}, "id"),
        ({"time_ns": -1}, "time_ns"),
        ({"about": "a b"}, "about"),
        ({"stream": "a b"}, "streams.id"),
        ({"streams": ("a", "b", "c", "d")}, "streams"),
    ],
)
def test_an_envelope_that_does_not_fit_is_refused(change: dict[str, Any], field: str) -> None:
    refuse(dataclasses.replace(intent("ev-1"), **change), field)


def test_every_field_has_a_known_type_and_one_of_four_classes() -> None:
    for path, field in FIELDS.items():
        assert field.type in record.READERS, path
        assert field.privacy in record.Class, path
        assert (field.type == "keyed") == (field.privacy is record.Class.KEYED), path
        assert (field.type == "digest") == (field.privacy is record.Class.COMMITMENT), path


@pytest.mark.parametrize("name", sorted({field.type for field in FIELDS.values()}))
def test_no_type_of_field_takes_a_sentence(name: str) -> None:
    with pytest.raises(record._Misfit):
        record.READERS[name]("a sentence, with blanks")


def test_members_of_enumerations_are_written_as_their_text() -> None:
    prepared = record.prepare(ORIGIN, TENANT, with_body(action={"name": record.Class.PUBLIC}))
    body = prepared.fields["body"]
    assert isinstance(body, dict)
    assert body["action"] == {"name": "public"}


def test_every_need_of_a_kind_is_a_field_or_group_of_the_table() -> None:
    for name, kind in KINDS.items():
        for path in kind.needs:
            assert path in FIELDS or any(field.startswith(path + ".") for field in FIELDS), (name, path)


def test_pseudonyms_differ_by_key_tenant_domain_and_name() -> None:
    base = pseudonym(b"k" * 32, "default", "usr", "jane")
    assert base == pseudonym(b"k" * 32, "default", "usr", "jane")
    others = {
        pseudonym(b"j" * 32, "default", "usr", "jane"),
        pseudonym(b"k" * 32, "acme", "usr", "jane"),
        pseudonym(b"k" * 32, "default", "agt", "jane"),
        pseudonym(b"k" * 32, "default", "usr", "john"),
    }
    assert len(others | {base}) == 5
    record.prepare(ORIGIN, TENANT, with_body(actor={**ACTOR, "ref": base}))


def test_a_stored_record_with_half_a_commitment_is_refused() -> None:
    whole = record.prepare(ORIGIN, TENANT, intent("ev-1"), {"key": "ses_1", "bytes": 1, "commit": "0" * 64})
    stored = whole.at(0, record.FIRST_PREV, [])
    record.check(stored)
    with pytest.raises(RecordInvalid, match="payload"):
        record.check({**stored, "payload": {"key": "ses_1"}})
    with pytest.raises(RecordInvalid, match="streams"):
        record.check({**stored, "streams": [{"id": "ses_1"}]})
    with pytest.raises(RecordInvalid, match="streams"):
        record.check({**stored, "streams": []})


def test_a_request_digest_is_kept_as_given() -> None:
    prepared = record.prepare(ORIGIN, TENANT, intent("ev-1"))
    body = prepared.fields["body"]
    assert isinstance(body, dict)
    assert body["request_digest"] == DIGEST


VALUES = st.sampled_from([0, -1, 2**53, True, None, "", "a word", "ok", "0", DIGEST, [], ["a"], {}, {"a": 1}, 1.5])
PATHS = st.sampled_from([path.split(".") for path in (*FIELDS, "body", "body.actor", "streams", "payload", "body.new")])


@given(st.lists(st.tuples(PATHS, VALUES), max_size=6), st.sampled_from(["ev-1", "ev-2"]))
def test_the_quick_walk_takes_what_the_naming_walk_takes_and_with_the_same_result(
    changes: list[tuple[list[str], Any]], event: str
) -> None:
    draft = intent("ev-1") if event == "ev-1" else outcome("ev-2", "ev-1")
    given_ = record.prepare(ORIGIN, TENANT, draft).at(3, DIGEST, [record.Placed("ses_1", 1, DIGEST)])
    for (*groups, last), value in changes:
        at: Any = given_
        for name in groups:
            at = at.setdefault(name, {}) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last] = value
    ends: list[Any] = []
    for walk in (record._QUICK, lambda value: record._group(record._TREE, value, "")):
        try:
            ends.append(walk(given_))
        except (record._Misfit, KeyError, RecordInvalid):
            ends.append(None)
    assert ends[0] == ends[1]
