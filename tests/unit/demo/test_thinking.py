"""The scripted model sees its prompt and nothing else: it follows the names, values and times that stand there."""

import json
from collections.abc import Mapping
from typing import Any

from demo import script

Json = Any
WINDOW = {"since": 1000, "until": 1900}


def tool(name: str, resources: list[str], *required: str) -> Json:
    properties = {"resource": {"enum": resources}, **{field: {} for field in required}}
    return {"name": name, "input_schema": {"properties": properties, "required": ["resource", *required]}}


TOOLS = [
    tool("shop_metrics_range", ["process:web", "process:till"], "metric", "since_s", "until_s", "step_s"),
    tool("shop_logs_search", ["process:web", "process:till"], "window_seconds"),
    tool("forge_history_list", ["repository:config"], "since_s", "until_s"),
]
LEADER = {
    "component": "till",
    "fault": "bad-config",
    "claims": [
        {"observation": "obs_1", "selector": "$.x", "op": "eq", "value": "1", "text": "t", "role": "cause", "at": ""}
    ],
}


def opening(leader: Json = LEADER) -> Json:
    told = {
        "incident": {"service": "web", "env": "prod", "severity": 4},
        "window": WINDOW,
        "components": {"web": "process", "till": "process", "config": "repository"},
        "depends_on": [["web", "till"], ["web", "config"], ["till", "config"]],
        "first_tier": {"verdict": "sure", "leader": leader},
    }
    return {"role": "user", "content": json.dumps(told)}


def investigating(*messages: Json, leader: Json = LEADER) -> Json:
    tools = [{"name": "propose", "input_schema": {}}, *TOOLS, {"name": "submit", "input_schema": {}}]
    return {"model": "m", "tools": tools, "messages": [opening(leader), *messages]}


def used(request: Mapping[str, Json]) -> tuple[str, Json, Json]:
    block = script.reply(request).content[-1]
    return block["name"], block["input"], {"role": "assistant", "content": [dict(block)]}


def came(said: Json, value: Json) -> Json:
    block = said["content"][-1]
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": json.dumps(value)}],
    }


SERIES = {
    "observation": "obs_9",
    "status": "ok",
    "summary": {
        "series": {
            "count": 2,
            "first": [
                {"labels": {"code": "200"}, "points": 9, "first": [1000, "0"], "last": [1900, "900"]},
                {"labels": {"origin": "self"}, "points": 9, "first": [1000, "4"], "last": [1900, "41"]},
            ],
        }
    },
}


def test_it_proposes_the_three_kinds_that_are_always_needed_with_queries_that_fit() -> None:
    name, given, _ = used(investigating())
    assert name == "propose"
    assert {one["kind"] for one in given["hypotheses"]} >= {"upstream_dependency", "recent_change", "no_fault"}
    first = given["hypotheses"][0]
    assert (first["component"], first["fault"]) == ("till", "bad-config")
    for one in given["hypotheses"]:
        schema = next(t for t in TOOLS if t["name"] == one["refuting_query"]["tool"])["input_schema"]
        assert set(schema["required"]) <= set(one["refuting_query"]["input"])


def test_it_overstates_once_is_told_so_and_submits_without_that() -> None:
    messages: list[Json] = []
    _, _, said = used(investigating())
    messages += [said, came(said, {"answers": {}})]
    name, given, said = used(investigating(*messages))
    assert (name, given["resource"], given["since_s"], given["until_s"]) == (
        "shop_metrics_range",
        "process:till",
        1000,
        1900,
    )
    messages += [said, came(said, SERIES)]
    name, given, said = used(investigating(*messages))
    assert name == "submit"
    values = [(one["observation"], one["op"], one["value"]) for one in given["claims"]]
    assert values == [("obs_1", "eq", "1"), ("obs_9", "ge", "37"), ("obs_9", "ge", "380")]
    verdicts = [{"verdict": word} for word in ("verified", "verified", "refuted")]
    messages += [said, came(said, {"verdict": "inconclusive", "claims": verdicts, "missing": []})]
    name, given, said = used(investigating(*messages))
    assert [one["value"] for one in given["claims"]] == ["1", "37"]
    messages += [said, came(said, {"verdict": "inconclusive", "claims": verdicts[:2], "missing": ["x"]})]
    assert used(investigating(*messages))[1]["leader"] == "none"


def test_without_a_leader_it_names_no_cause() -> None:
    _, _, said = used(investigating(leader=None))
    name, given, _ = used(investigating(said, came(said, {"answers": {}}), leader=None))
    assert (name, given["leader"]) == ("submit", "none")


def test_as_a_skeptic_it_asks_first_and_predicts_what_it_then_saw() -> None:
    told = {
        "finding": {"component": "till", "fault": "bad-config"},
        "claims": [],
        "symptom_at": "web",
        "window": WINDOW,
        "depends_on": [["web", "till"]],
    }
    tools = [*TOOLS, {"name": "submit", "input_schema": {}}]
    first = {"role": "user", "content": json.dumps(told)}
    name, given, said = used({"model": "m", "tools": tools, "messages": [first]})
    assert (name, given["resource"]) == ("shop_metrics_range", "process:web")
    name, given, _ = used({"model": "m", "tools": tools, "messages": [first, said, came(said, SERIES)]})
    assert name == "submit"
    assert [(one["role"], one["op"], one["value"]) for one in given["predictions"]] == [("prediction", "ge", "37")]


def test_a_prompt_that_is_no_investigation_gets_words() -> None:
    request = investigating()
    request["messages"] = [{"role": "user", "content": "hello"}]
    assert script.reply(request).stop_reason == "end_turn"
