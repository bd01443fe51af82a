"""Quality on inputs that nobody here wrote."""

import json
from collections import Counter

from broker.redaction import redact_text
from tests.parts import corpus

KEY = b"k" * 32
NAMES = {
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "CREDIT_CARD": "CARD",
    "PHONE_NUMBER": "PHONE",
    "IP_ADDRESS": "IP",
}


def test_labelled_sentences_lose_their_personal_data_and_little_else() -> None:
    wanted, found, wrong = Counter(), Counter(), Counter()
    for sentence in json.loads((corpus("presidio-research") / "data" / "synth_dataset_v2.json").read_text()):
        _, findings = redact_text(sentence["full_text"], key=KEY)
        gold = [
            (NAMES[s["entity_type"]], s["start_position"], s["end_position"])
            for s in sentence["spans"]
            if s["entity_type"] in NAMES
        ]
        for entity, start, end in gold:
            wanted[entity] += 1
            found[entity] += any(f.entity == entity and f.start <= start and f.end >= end for f in findings)
        for finding in findings:
            wrong[finding.entity] += not any(
                g[0] == finding.entity and g[1] < finding.end and g[2] > finding.start for g in gold
            )
    recall = {entity: found[entity] / wanted[entity] for entity in wanted}
    print(recall, dict(wrong))
    assert min(recall["EMAIL"], recall["IBAN"], recall["SSN"], recall["IP"]) == 1.0
    assert recall["CARD"] >= 0.99
    assert recall["PHONE"] >= 0.95
    assert sum(wrong.values()) <= 5


def test_published_secrets_are_found() -> None:
    positive, negative = [], []
    for rule in json.loads((corpus("noseyparker") / "examples.json").read_text()):
        for kind, results in (("examples", positive), ("negative_examples", negative)):
            results += [any(f.entity == "SECRET" for f in redact_text(text, key=KEY)[1]) for text in rule[kind]]
    recall, false_rate = sum(positive) / len(positive), sum(negative) / len(negative)
    print(f"recall {recall:.3f}, negatives hit {false_rate:.3f}")
    assert recall >= 0.88
    assert false_rate <= 0.37, (
        "most negatives of one rule are secrets of another (a Slack bot token is no Slack user token)"
    )


def test_real_logs_keep_their_signal() -> None:
    lines, wrong = 0, []
    for path in sorted(corpus("loghub").glob("*/*_2k.log")):
        for line in path.read_text(errors="replace").splitlines():
            lines += 1
            wrong += [(path.parent.name, f.rule, line[f.start : f.end]) for f in redact_text(line, key=KEY)[1]]
    assert lines == 16_000
    assert len(wrong) <= lines // 10_000, wrong[:10]


def test_naughty_strings_pass_without_error_and_twice_gives_the_same() -> None:
    for text in json.loads((corpus("blns") / "blns.json").read_text()):
        once, _ = redact_text(text, key=KEY)
        assert redact_text(once, key=KEY)[0].replace("~", "_") == once.replace("~", "_")
