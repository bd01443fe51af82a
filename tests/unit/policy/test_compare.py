"""Two bundles side by side: files, rules and values, in words, bounded, and nothing left out unsaid."""

from pathlib import Path
from typing import Any

from broker.policy import compare as comparing
from broker.policy.annotations import rules_of
from broker.policy.compare import compare, readable


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_equal_content_under_another_revision_differs_in_the_manifest_alone(build: Any) -> None:
    found = compare(build("1"), build("2"))
    assert [one.path for one in found.files] == [".manifest"]
    assert (found.rules, found.values) == ((), ())


def test_a_changed_rule_a_new_rule_and_a_lost_one_are_named_with_their_words(folder: Path, build: Any) -> None:
    added = "\n\n# METADATA\n# title: Nobody on Sundays\n# custom:\n#   reason: day.sunday\nsunday if input.context.now_s == 5\n"
    before = build("1")
    path = folder / "broker/main/main.rego"
    path.write_text(path.read_text() + added)
    after = build("2")
    (change,) = compare(before, after).rules
    assert (change.kind, change.rule, change.title, change.reasons) == (
        "added", "data.broker.main.sunday", "Nobody on Sundays", ("day.sunday",)
    )  # fmt: skip
    (gone,) = compare(after, before).rules
    assert (gone.kind, gone.rule) == ("removed", "data.broker.main.sunday")
    edit(folder, "broker/main/main.rego", "now_s == 5", "now_s == 6")
    (changed,) = compare(after, build("3")).rules
    assert changed.kind == "changed"
    edit(folder, "broker/main/main.rego", "Nobody on Sundays", "Nobody at six")
    assert [one.title for one in compare(after, build("4")).rules] == ["Nobody at six"]


def test_values_are_told_by_path_with_both_sides(folder: Path, build: Any) -> None:
    before = build("1")
    path = folder / "config/roles/data.yaml"
    path.write_text(path.read_text() + "newcomer: {actions: [shop.orders.read]}\n")
    after = build("2")
    values = {one.path: (one.before, one.after) for one in compare(before, after).values}
    assert values == {"roles.newcomer.actions": ("", '["shop.orders.read"]')}
    lines = next(one.lines for one in compare(before, after).files if one.path == "config/roles/data.json")
    assert any(line.startswith("+") and "newcomer" in line for line in lines)


def test_what_is_too_much_to_show_is_counted(folder: Path, build: Any, monkeypatch: Any) -> None:
    before = build("1")
    path = folder / "broker/main/main.rego"
    path.write_text(path.read_text() + "".join(f"\nrule_{number} := {number}\n" for number in range(400)))
    after = build("2")
    change = next(one for one in compare(before, after).files if one.path == "broker/main/main.rego")
    assert len(change.lines) == comparing.LINES_MAX
    assert change.more > 0
    monkeypatch.setattr(comparing, "FILES_MAX", 1)
    monkeypatch.setattr(comparing, "_LONG_LINES", 10)
    found = compare(before, after)
    assert (len(found.files), found.more_files) == (1, 1)
    monkeypatch.setattr(comparing, "FILES_MAX", 2)
    change = next(one for one in compare(before, after).files if one.path == "broker/main/main.rego")
    assert change.lines == ()
    assert change.more > 800


def test_every_file_of_a_bundle_is_readable_and_unit_tests_are_rego_again(folder: Path, build: Any) -> None:
    (folder / "broker/main/main_test.rego").write_text("package broker.main_test\n")
    shown = readable(build("1"))
    assert shown["broker/main/main_test.rego"] == "package broker.main_test\n"
    assert {".manifest", "broker/main/main.rego", "config/roles/data.json", "golden/main.json"} <= shown.keys()
    assert not any(name.startswith("tests/") or name == ".signatures.json" for name in shown)


def test_words_of_a_rule_are_those_right_above_it() -> None:
    text = (
        "# METADATA\n# title: The file\npackage broker.x\n\nimport data.broker.y\n\n# a plain remark\nbare := 1\n\n"
        "# METADATA\n# title: One\n# description: |\n#   two\n#   lines\n# custom: {reason: [a.b, c.d]}\n"
        "default one := false\n\none if {\n\tinput.a\n}\n\n# METADATA\n# title: [broken\nodd if true\n"
    )
    rules = rules_of({"broker/x.rego": text})
    found = [(one.name, one.line, one.title, one.reasons) for one in rules]
    assert found == [
        ("data.broker.x", 3, "The file", ()),
        ("data.broker.x.bare", 8, "", ()),
        ("data.broker.x.one", 16, "One", ("a.b", "c.d")),
        ("data.broker.x.one", 18, "", ()),
        ("data.broker.x.odd", 24, "", ()),
    ]
    assert [one.is_package for one in rules] == [True, False, False, False, False]
    assert rules[2].description == "two\nlines\n"
    assert "[broken" in rules[4].description
