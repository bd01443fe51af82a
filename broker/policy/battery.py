"""Probes that an evaluator must answer as OPA does before it may decide anything.

Each probe is a place where a Rego engine was found to differ silently: numbers ordered as text, shallow unions,
strings cut at NUL, wrapped integers, undefined taken for false, sets in another order. The expectations are OPA
1.20.2's own answers (a test asks it). One rule name per probe; a probe that is undefined is missing from the result.
"""

from collections.abc import Awaitable, Callable

import orjson

from broker.policy.content import refusal
from broker.policy.engine import Answer

PACKAGE_FILE = "battery/battery.rego"
ENTRYPOINT = "data.battery.result"
DATA = {"battery_data": {"roles": {"a": {"grants": ["read"]}}, "list": [3, 20, 100]}}

MODULE = r"""package battery

result := {"probes": probe, "input": input}

probe["max.multi_digit"] := max([10, 9])
probe["min.multi_digit"] := min([10, 9])
probe["max.of_set"] := max({2, 10, 9})
probe["sort.multi_digit"] := sort([10, 9, 100])
probe["sort.mixed"] := sort(["b", 2, null, true, "a", 10])
probe["compare.arrays"] := r if { r := [1, 2] < [1, 10] }
probe["compare.kinds"] := r if { r := "a" < 1 }
probe["compare.null"] := r if { r := null < false }
probe["sum"] := sum([1, 2, 39])
probe["modulo"] := -7 % 3
probe["big.exact"] := 9007199254740991 + 0
probe["big.negative"] := 0 - 9007199254740991
probe["big.order"] := r if { r := 9007199254740991 > 9007199254740990 }
probe["count.set"] := count({1, 1, 2})
probe["union.deep"] := object.union({"a": {"b": 1}}, {"a": {"c": 2}})
probe["union.sets"] := union({{1}, {2, 1}})
probe["set.order"] := [x | some x in {"b", "a", "c", 10, 9}]
probe["set.minus"] := {1, 2, 3} - {2}
probe["object.get.default"] := object.get(input, "absent", "default")
probe["object.get.path"] := object.get(input, ["o", "k", "z"], "default")
probe["object.get.false"] := object.get(input, "no", true)
probe["nul.equal"] := r if { r := input.nul == "read" }
probe["nul.count"] := count(input.nul)
probe["quote.kept"] := input.quote
probe["unicode.lower"] := lower("ÀÉ")
probe["unicode.escape"] := input.uni
probe["duplicate.last"] := input.twice
probe["undefined.not"] if not input.absent
probe["undefined.not_deep"] if not input.absent.more
probe["undefined.equals"] if input.absent == input.absent2
probe["undefined.differs"] if input.absent != 1
probe["undefined.collects"] := [x | some x in [input.absent, 1]]
probe["false.not"] if not input.no
probe["false.is_defined"] := input.no
probe["null.is_defined"] := input.nothing
probe["null.not"] if not input.nothing
probe["negated.helper"] if not admits("write")
probe["partial.empty"] := count(nobody)
probe["every.empty"] if every x in [] { x == 1 }
probe["every.fails"] if every x in input.list { x > 5 }
probe["some.binds"] := {x | some x in input.list; x > 5}
probe["data.lookup"] := data.battery_data.roles[input.role].grants
probe["data.absent"] := data.battery_data.roles.zz.grants
probe["array.index"] := data.battery_data.list[1]
probe["string.index"] := substring("abcdef", 1, 3)
probe["glob"] if glob.match("prod-*", ["."], "prod-a")
probe["glob.segment"] if glob.match("prod.*", ["."], "prod.a.b")
probe["regex.anchor"] if regex.match("^[a-z]+$", "abc\n")
probe["cidr"] if net.cidr_contains("10.0.0.0/8", "11.0.0.1")
probe["sprintf.int"] := sprintf("%d-%s", [5, "x"])
probe["concat.set"] := concat(",", {"b", "a"})
probe["else.second"] := pick(3)
probe["default.function"] := fallback(7)
probe["with.input"] := r if { r := seen with input as {"v": 5} }

admits(verb) if verb == "read"
nobody contains x if { some x in input.list; x > 1000 }
pick(n) := "one" if n == 1 else := "many" if n > 1
default fallback(_) := "default"
fallback(n) := "five" if n == 5
seen := input.v
"""

INPUT = (
    rb'{"role":"a","no":false,"nothing":null,"nul":"read\u0000delete","quote":"k\",\"effect\":\"permit",'
    rb'"uni":"\u00e9\ud83d\ude00","twice":1,"twice":2,"list":[3,20,100],"o":{"k":{}},"deep":[[[[1]]]]}'
)

EXPECTED: dict[str, object] = {
    "array.index": 20,
    "big.exact": 9007199254740991,
    "big.negative": -9007199254740991,
    "big.order": True,
    "compare.arrays": True,
    "compare.kinds": False,
    "compare.null": True,
    "concat.set": "a,b",
    "count.set": 2,
    "data.lookup": ["read"],
    "default.function": "default",
    "duplicate.last": 2,
    "else.second": "many",
    "every.empty": True,
    "false.is_defined": False,
    "false.not": True,
    "glob": True,
    "max.multi_digit": 10,
    "max.of_set": 10,
    "min.multi_digit": 9,
    "modulo": -1,
    "negated.helper": True,
    "nul.count": 11,
    "nul.equal": False,
    "null.is_defined": None,
    "object.get.default": "default",
    "object.get.false": False,
    "object.get.path": "default",
    "partial.empty": 0,
    "quote.kept": 'k","effect":"permit',
    "set.minus": [1, 3],
    "set.order": [9, 10, "a", "b", "c"],
    "some.binds": [20, 100],
    "sort.mixed": [None, True, 2, 10, "a", "b"],
    "sort.multi_digit": [9, 10, 100],
    "sprintf.int": "5-x",
    "string.index": "bcd",
    "sum": 42,
    "undefined.collects": [],
    "undefined.not": True,
    "undefined.not_deep": True,
    "unicode.escape": "é😀",
    "unicode.lower": "àé",
    "union.deep": {"a": {"b": 1, "c": 2}},
    "union.sets": [1, 2],
    "with.input": 5,
}


async def probe(decide: Callable[[bytes], Awaitable[Answer]]) -> None:
    """Ask ``decide`` every probe; raises ``BadRequest`` (``policy.engine_unfit``) naming the probes that differ."""
    found = orjson.loads((await decide(INPUT)).value)
    probes = found.get("probes", {})
    wrong = sorted(name for name in EXPECTED.keys() | probes.keys() if probes.get(name) != EXPECTED.get(name))
    if found.get("input") != orjson.loads(INPUT):
        wrong.append("input.echo")
    if wrong:
        raise refusal(
            f"the engine differs from OPA in {', '.join(wrong)}",
            "install the engine of requirements.lock",
            code="policy.engine_unfit",
        )
