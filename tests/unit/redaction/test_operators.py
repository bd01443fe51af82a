"""The fast splice says what Presidio's engine says, with our operators registered in it."""

import random

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

from broker.redaction import operators
from broker.redaction.entities import STANDARD, Profile, Span, Tier, Treatment, profiles_from
from broker.redaction.tokens import SessionKeys

ENTITIES = ["EMAIL", "SECRET", "PHONE", "PERSON", "CARD", "DOB", "ENCODED"]


def test_the_splice_equals_presidios_engine() -> None:
    keys, engine = SessionKeys(b"k" * 32), operators.register(AnonymizerEngine())
    choose = random.Random(7)
    for _ in range(200):
        text = "".join(choose.choice("ab @.19 é\n") for _ in range(80))
        cuts = sorted(choose.sample(range(80), 8))
        spans = [
            Span(choose.choice(ENTITIES), a, b, "r", Tier.PATTERN, 0.5)
            for a, b in zip(cuts[::2], cuts[1::2], strict=True)
        ]
        minted: dict[str, str] = {}
        chosen = {name: operators.treatment(STANDARD, name) for name in ENTITIES}
        ours = operators.splice(
            text,
            [(s.start, s.end, operators.operate(text, s, chosen[s.entity], keys, minted.setdefault)) for s in spans],
        )
        config = {
            name: OperatorConfig(
                chosen[name].op, {"keys": keys, "entity": name, "kind": "", "keep": "", "mint": minted.setdefault}
            )
            for name in ENTITIES
        }
        theirs = engine.anonymize(
            text,
            [RecognizerResult(s.entity, s.start, s.end, s.score) for s in spans],
            operators=config,
            merge_entities_with_spaces=False,
        )
        assert ours == theirs.text


def test_each_operator_leaves_what_it_promises() -> None:
    keys = SessionKeys(b"k" * 32)

    def treat(op: str, entity: str, text: str) -> str:
        return operators.operate(
            text,
            Span(entity, 0, len(text), "r", Tier.KEY, 1.0, "x"),
            Treatment(op),
            keys,
            lambda _token, _surface: None,
        )

    assert treat("redact", "EMAIL", "a@b.co") == "[EMAIL]"
    assert treat("mask", "EMAIL", "a@b.co") == "*@*.**"
    assert treat("generalise", "DOB", "born 1984-03-02") == "1984"
    assert treat("generalise", "ADDRESS", "1984 Main St") == "[ADDRESS]"
    assert treat("hash", "EMAIL", "a@B.co") == treat("hash", "EMAIL", "a@b.co")
    assert treat("destroy", "SECRET", "v").startswith("[SECRET:x:")


def test_profiles_fall_to_the_strictest_where_they_are_not_understood() -> None:
    profile = profiles_from(
        {
            "p": {
                "entities": {
                    "EMAIL": {"op": "frobnicate"},
                    "CARD": {"op": "keep", "keep": "all"},
                    "SECRET": {"op": "keep"},
                    "SHOE": {"op": "keep"},
                }
            }
        }
    )["p"]
    assert [profile.of(name).op for name in ("EMAIL", "CARD", "SECRET", "SHOE", "HAT", "PHONE")] == ["destroy"] * 5 + [
        "pseudonym"
    ]
    assert Profile("x", {"SECRET": Treatment("keep")}).of("SECRET").op == "destroy"
