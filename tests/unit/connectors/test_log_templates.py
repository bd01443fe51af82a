"""The miner: what a line is, whichever values it carries; measured on published logs."""

import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from broker.connectors import log_templates
from broker.connectors.log_templates import ANY, Miner, Template, masked_words
from tests.parts import corpus

HEADERS = {
    "Android": (r"^\S+ \S+\s+\d+\s+\d+ \w ", 166),
    "Apache": (r"^\[[^\]]*\] \[[^\]]*\] ", 6),
    "BGL": (r"^\S+ \d+ \S+ \S+ \S+ \S+ \S+ \S+ \S+ ", 120),
    "HDFS": (r"^\d+ \d+ \d+ \w+ [^:]+: ", 14),
    "Hadoop": (r"^\S+ \S+ \S+\s+\[[^\]]*\] [^:]+: ", 114),
    "HealthApp": (r"^[^|]*\|[^|]*\|[^|]*\|", 75),
    "Thunderbird": (r"^\S+ \d+ \S+ \S+ \S+ +\S+ \S+ \S+ ", 149),
    "Windows": (r"^\S+ \S+, \w+\s+\w+\s+", 50),
}
"""What stands before the message, and how many templates the publishers (Zhu et al., ICSE-SEIP 2019) count in the sample."""

# The publishers' templates of two samples, as expressions: the labels by which grouping is judged.
APACHE = [
    r"jk2_init\(\) Found child \S+ in scoreboard slot \S+", r"workerEnv\.init\(\) ok \S+", r"mod_jk child workerEnv in error state \S+",
    r"\[client \S+\] Directory index forbidden by rule: \S+", r"jk2_init\(\) Can't find child \S+ in scoreboard", r"mod_jk child init \S+ \S+",
]  # fmt: skip
HDFS = [
    r"PacketResponder \S+ for block \S+ terminating", r"BLOCK\* NameSystem\.addStoredBlock: blockMap updated: \S+ is added to \S+ size \S+",
    r"Received block \S+ of size \S+ from \S+", r"Receiving block \S+ src: \S+ dest: \S+", r"BLOCK\* NameSystem\.allocateBlock: \S+ \S+",
    r"Verification succeeded for \S+", r"Deleting block \S+ file \S+", r"\S+ Served block \S+ to \S+", r"\S+:Got exception while serving \S+ to \S+",
    r"BLOCK\* NameSystem\.delete: \S+ is added to invalidSet of \S+", r"\S+ Starting thread to transfer block \S+ to \S+",
    r"BLOCK\* ask \S+ to delete .*", r"Received block \S+ src: \S+ dest: \S+ of size \S+", r"BLOCK\* ask \S+ to replicate \S+ to datanode\(s\) .*",
]  # fmt: skip


def messages(name: str) -> list[str]:
    header = re.compile(HEADERS[name][0])
    lines = (corpus("loghub") / name / f"{name}_2k.log").read_text(errors="replace").splitlines()
    assert all(header.match(line) for line in lines)
    return [header.sub("", line) for line in lines]


def mined(lines: list[str]) -> tuple[Miner, list[Template]]:
    miner = Miner()
    owners = [miner.add(line, at, "info") for at, line in enumerate(lines)]
    assert all(owners)
    return miner, [one for one in owners if one]


def grouping_accuracy(labels: list[int], owners: list[Template]) -> float:
    """Share of the lines whose group holds exactly the lines of their label (the publishers' measure)."""
    groups: dict[int, set[int]] = {}
    truth: dict[int, set[int]] = {}
    for line, (label, owner) in enumerate(zip(labels, owners, strict=True)):
        groups.setdefault(id(owner), set()).add(line)
        truth.setdefault(label, set()).add(line)
    right = sum(len(lines) for lines in groups.values() if lines in truth.values())
    return right / len(labels)


@pytest.mark.parametrize(("name", "templates"), [("Apache", APACHE), ("HDFS", HDFS)])
def test_lines_are_grouped_as_the_publishers_group_them(name: str, templates: list[str]) -> None:
    lines = messages(name)
    labels = [next(n for n, one in enumerate(templates) if re.fullmatch(one + r":?\s*", line)) for line in lines]
    assert len(set(labels)) == HEADERS[name][1]
    assert grouping_accuracy(labels, mined(lines)[1]) >= 0.99


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_the_number_of_templates_is_near_the_published_one(name: str) -> None:
    miner, _ = mined(messages(name))
    published = HEADERS[name][1]
    assert 0.85 * published <= len(miner.templates) <= 1.15 * published


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_templates_are_stable(name: str) -> None:
    """Twice the same; and where most lines go does not hang on the order in which they came."""
    lines = messages(name)
    first, second = mined(lines)[0], mined(lines)[0]
    assert [(one.text, one.count) for one in first.templates] == [(one.text, one.count) for one in second.templates]
    shuffled = lines.copy()
    random.Random(3).shuffle(shuffled)
    third = mined(shuffled)[0]
    before, after = (Counter({one.text: one.count for one in miner.templates}) for miner in (first, third))
    assert sum((before & after).values()) >= 0.9 * len(lines)


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_every_template_is_the_form_of_each_of_its_lines(name: str) -> None:
    miner, owners = mined(lines := messages(name))
    assert sum(one.count for one in miner.templates) == len(lines)
    for line, owner in zip(lines, owners, strict=True):
        words = masked_words(line)
        assert len(words) == len(owner.words)
        for word, form in zip(words, owner.words, strict=True):
            assert form in {word, ANY} or (form.endswith(f"={ANY}") and word.startswith(form.removesuffix(ANY)))


@pytest.mark.parametrize(("line", "words"), [
    ("took 12 ms", ["took", ANY, "ms"]),
    ("took 12.5ms at 10:00:01,250", ["took", "<*>ms", "at", ANY]),
    ("from 10.1.2.3:8080 to /10.1.2.4", ["from", ANY, "to", ANY]),
    ("id=3f786850-e387-550f-daeb-836ed7e6dc88 ok", ["id=<*>", "ok"]),
    ("block blk_-38865049064139660 and blk_1", ["block", "blk_<*>", "and", "blk_<*>"]),
    ("ids 1, 2, 3, 4 done", ["ids", "<*>,", ANY, "done"]),
    ("0x7fed806eb5d deadbeef facade", [ANY, "deadbeef", "facade"]),
    ("", []),
])  # fmt: skip
def test_values_are_masked_and_words_are_not(line: str, words: list[str]) -> None:
    assert masked_words(line) == words


def test_differing_words_become_one_template_and_keys_stay() -> None:
    miner, _ = mined(["user=ann signed in from home", "user=bob signed in from work", "disk is nearly full today sir"])
    assert [(one.text, one.count) for one in miner.templates] == [
        ("user=<*> signed in from <*>", 2), ("disk is nearly full today sir", 1),
    ]  # fmt: skip


def test_what_an_attacker_writes_stays_within_bounds() -> None:
    miner = Miner(templates_max=50, branches_max=10)
    dice = random.Random(5)
    for n in range(2000):
        letters = "".join(dice.choice("abcdefghij") for _ in range(12))
        miner.add(" ".join([letters] * (n % 7 + 1)), n, "info")
    assert len(miner.templates) <= 50
    assert miner.left_out + sum(one.count for one in miner.templates) == 2000
    assert len(masked_words("a " * 100_000)) == 100
    assert masked_words("x" * 100_000) == [ANY]
    assert len(masked_words("1" * 100_000)) == 1


def test_lines_that_are_unlike_each_other_on_purpose_cost_a_bounded_amount_of_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    alike = log_templates._alike

    def counted(mine: Sequence[str], other: Sequence[str]) -> float:
        nonlocal compared
        compared += len(mine)
        return alike(mine, other)

    monkeypatch.setattr(log_templates, "_alike", counted)
    monkeypatch.setattr(log_templates, "WORK_MAX", 20_000)
    rng, miner = random.Random(1), Miner()
    for _ in range(1000):
        words = ("".join(rng.choices("ghijklmnop", k=8)) for _ in range(6))
        miner.add(f"GET path {' '.join(words)}", 0, "")
    assert 10_000 < compared <= 20_000
    assert miner.left_out
    assert miner.left_out + sum(one.count for one in miner.templates) == 1000
