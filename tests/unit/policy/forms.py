"""Rego bodies on which OPA and regorus were asked: what the lint must refuse, and what it must let through."""

SETUP = """package broker.forms

r_absent if input.absent.more
r_set contains "x"
r_object["a"] := 1
r_else if input.absent
is_one(x) if x == 1
default with_default(_) := 0
with_default(x) := 1 if x == 5
every_fails if {
	every x in input.absent { x == 1 }
}
"""

INPUT = {"a": {"k": 1}, "t": [1, 2], "o": {"k": 1}, "n": None, "i": 5, "s": "s1"}
DATA = {"config": {"roles": {"a": {"b": 1}}, "s1": {"c": 1}}}

NEGATED_UNDEFINED = [
    "not input.u != 1",
    "not input.u < 1",
    'not "x" in input.u',
    "not input.u in r_set",
    "not is_one(input.u)",
    'not startswith(input.u, "x")',
    "not input.a[input.u]",
    "not input.a[r_absent]",
    "not data.config.nope[input.u]",
    "not data.config[input.u]",
    "not [input.u]",
    'not {"a": input.u}',
    "not {input.u}",
    "not [input.u][0]",
    "not input.u + 1 == 2",
    "not count(input.u) == 0",
    'not object.get(input.u, "x", false)',
    'not "x" in object.get(input.u, "x", [])',
    "every x in input.t { not x in input.u }",
    "not is_string(input.u)",
    "not {1} & input.u",
    "not r_object[input.u]",
]
"""Silent differences: with the operand undefined OPA fails the rule and regorus lets it hold."""

UNSAFE = ["not input.u[_]", "not input.t[_] == 9", "not input.t[i] == 9", "not unbound == 1"]
"""OPA does not compile these; regorus does for some."""

AGREED = [
    "not input.a",
    "not input.a.b",
    "not input.u.v",
    "not input.u == 1",
    "not input.u == input.w",
    "not input.u == data.config.nope",
    "not 1 == input.u",
    "not true == input.u.v",
    "not r_absent",
    'not r_set["x"]',
    'not "x" in r_set',
    "not is_one(1)",
    'not startswith("a", "x")',
    'not object.get(input, "u", false)',
    'not "x" in object.get(input, "u", [])',
    'not input["u"]',
    "some x in input.t\n\tnot is_one(x)",
    "some x in input.t\n\tnot data.config.roles[x]",
    "x := 2\n\tnot x == 1",
    "some i\n\tinput.t[i] == 2\n\tnot input.o[i]",
    "every x in input.t { not x == input.u }",
    "every x in input.t { x == input.u }",
    "not every_fails",
    "count([y | y := input.u[_]]) == 0",
    "not with_default(1)",
    "input.u != 5",
    "input.u in [1]",
    "not input.t[5]",
    "not r_else with input.absent as true",
    'net.cidr_contains("10.0.0.0/8", "10.1.1.1")',
]
"""Same answer on both, whatever the input lacks."""


def module(body: str, package: str = "broker.forms") -> str:
    return SETUP.replace("broker.forms", package, 1) + f"\nasked if {{\n\t{body}\n}}\n"
