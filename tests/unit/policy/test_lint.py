import asyncio
from typing import Any

import pytest

from broker.policy.content import Content
from broker.policy.lint import lint_content
from tests.unit.policy import forms


def lint(*sources: str, capabilities: Any = None) -> Any:
    modules = {f"broker/m{number}.rego": source for number, source in enumerate(sources)}
    return asyncio.run(lint_content(Content(modules, {}, {}, {}, (), capabilities or {}, {})))


def rules(*sources: str) -> set[str]:
    return {finding.rule for finding in lint(*sources)}


def lint_all(bodies: Any) -> Any:
    """The rules found in each body, all linted in one go."""
    sources = [forms.module(body, f"broker.f{number}") for number, body in enumerate(bodies)]
    found = lint(*sources)
    return [{f.rule for f in found if f.file == f"broker/m{number}.rego"} for number in range(len(bodies))]


def test_every_form_on_which_the_engines_differ_is_refused() -> None:
    found = lint_all(forms.NEGATED_UNDEFINED)
    missed = [
        body for body, names in zip(forms.NEGATED_UNDEFINED, found, strict=True) if names != {"negated-undefined"}
    ]
    assert missed == []


def test_variables_that_nothing_binds_are_refused() -> None:
    found = lint_all(forms.UNSAFE)
    assert [body for body, names in zip(forms.UNSAFE, found, strict=True) if names != {"unsafe-variable"}] == []


def test_forms_on_which_the_engines_agree_are_let_through() -> None:
    found = lint_all(forms.AGREED)
    assert [(body, names) for body, names in zip(forms.AGREED, found, strict=True) if names] == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('x := $"a{input.b}"', "template-string"),
        ("x := $`a{input.b}`", "template-string"),
        ("x := 0.5", "float"),
        ("x := 1e3", "float"),
        ("x := 9007199254740993", "big-integer"),
        ("x if input.if", "keyword-reference"),
        ("x := 10 / 4", "division"),
        ("x := time.now_ns()", "builtin"),
        ('x := http.send({"method": "get", "url": "http://a"})', "builtin"),
        ('x := rand.intn("a", 5)', "builtin"),
        ('x := uuid.rfc4122("a")', "builtin"),
        ("x := opa.runtime()", "builtin"),
        ('x := io.jwt.decode("a")', "builtin"),
        ('x := crypto.sha256("a")', "builtin"),
        ('x := sprintf("%v", [input.a])', "builtin"),
        ('x := upper("a")', "builtin"),
        ("x if print(input.a)", "builtin"),
        ("x if made_up(input.a)", "builtin"),
        ("x := data.elsewhere.y", "root"),
        ("x := data[input.a]", "root"),
        ("x := data", "root"),
        ("default obligations := {}", "default-duty"),
        ("default limits := []", "default-duty"),
        ('default approval := {"quorum": 0}', "default-duty"),
        ("default permitted := true", "default-right"),
        ("default allow := input.x", "default-right"),
        ('default decision := {"effect": "permit"}', "default-decision"),
        ("default decision := {}", "default-decision"),
        ("import future.keywords.in", "future-import"),
    ],
)
def test_a_form_is_refused_with_its_line_and_a_remedy(line: str, rule: str) -> None:
    found = [each for each in lint(f"package broker.x\n\n# a comment\n{line}\n") if each.rule == rule]
    assert found, lint(f"package broker.x\n\n# a comment\n{line}\n")
    assert found[0].file == "broker/m0.rego"
    assert found[0].line == 4
    assert found[0].remedy
    assert str(found[0]).startswith("broker/m0.rego:4: ")


def test_what_regorus_cannot_read_is_refused_with_its_line() -> None:
    (finding,) = lint("package broker.x\n\nx if {\n\tinput.a ==\n}\n")
    assert (finding.rule, finding.line) == ("syntax", 5)


def test_comments_and_texts_are_not_code() -> None:
    source = 'package broker.x\n\n# not f(input.u) 0.5 $"x" time.now_ns()\nx := "0.5 input.if $\\"y\\""\n\ny := `not f(input.u)\n0.5`\n'
    assert lint(source) == []


def test_lines_are_counted_through_raw_texts() -> None:
    (finding,) = lint("package broker.x\n\ny := `a\nb\nc`\n\nz := 0.5\n")
    assert finding.line == 7


def test_functions_of_this_and_of_other_packages_may_be_called() -> None:
    lib = "package broker.lib\n\nis_one(x) if x == 1\n"
    use = "package broker.use\n\nimport data.broker.lib\nimport data.broker.lib as l\n\nx if lib.is_one(1)\n\ny if l.is_one(1)\n\nz if data.broker.lib.is_one(1)\n"
    assert lint(lib, use) == []
    assert rules(use) == {"builtin"}


def test_a_package_split_over_files_is_one_package() -> None:
    assert (
        lint(
            "package broker.x\n\na contains 1\n",
            "package broker.x\n\nb if not 2 in a\n\nf(x) if x\n",
            "package broker.x\n\nc if f(1)\n",
        )
        == []
    )


def test_a_package_that_only_looks_like_ours_is_refused() -> None:
    assert "root" in rules(" package config.x\n\nr := `\npackage broker.y\n`\n")


def test_capabilities_of_a_bundle_narrow_the_builtins_and_never_widen_them() -> None:
    source = "package broker.x\n\na := count(input.b)\n\nb := time.now_ns()\n"
    wide = {"capabilities/a.json": {"builtins": [{"name": "count"}, {"name": "time.now_ns"}]}}
    none = {"capabilities/a.json": {"builtins": []}}
    assert [finding.line for finding in lint(source, capabilities=wide)] == [5]
    assert [finding.line for finding in lint(source, capabilities=none)] == [3, 5]
