"""How the scripted model investigates: a function of its prompt alone, like ``script.py``, to which it belongs.

It is given an incident, the first tier's leader, and tools. It proposes hypotheses with the queries that would refute
them, makes a query of its own about the leader, and submits claims on what it was shown: those of the first tier, one of
its own, and one that overstates what it saw tenfold, as models do. The gate refutes that one, tells it so, and it submits
again without it. In the skeptic's place it asks whether those who depend on the culprit feel it, and predicts that they do.
Components, times, values and the names of the tools come from the prompt; nothing of the shop is known here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Any
Block = Mapping[str, Json]

OVERSTATED = 10
POINTS_MAX = 900
SUBMISSIONS_MAX = 2
METRIC_OF = {"dependency-down": "shop_calls_total", "slow-query": "shop_query_seconds_sum"}
METRIC_OTHERWISE = "shop_errors_total"
FELT_AS = {"slow-query": "shop_request_seconds_count"}
FELT_OTHERWISE = "shop_calls_total"
FINE = frozenset({"ok", "200"})
CHANGES = frozenset({"bad-config", "bad-deploy", "missing-config", "bad-command"})


class Thought:
    """One request, taken apart."""

    def __init__(self, request: Mapping[str, Json]) -> None:
        """Raises ``ValueError`` or ``KeyError`` for a prompt that is none of these."""
        self.tools: Mapping[str, Block] = {tool["name"]: tool for tool in request["tools"]}
        self.messages: Sequence[Mapping[str, Json]] = request["messages"]
        first = self.messages[0]["content"]
        self.told: Mapping[str, Json] = json.loads(first if isinstance(first, str) else first[0]["text"])
        self.window: Mapping[str, int] = self.told["window"]

    def uses(self) -> Iterator[tuple[Block, Json]]:
        """What was used so far, each with what came back."""
        results = {
            block["tool_use_id"]: block
            for message in self.messages
            if message["role"] == "user" and not isinstance(message["content"], str)
            for block in message["content"]
            if block["type"] == "tool_result"
        }
        for message in self.messages:
            for block in message["content"] if message["role"] == "assistant" else ():
                if block["type"] == "tool_use":
                    yield block, _json(results.get(block["id"], {}).get("content", "{}"))

    def query(self, word: str, component: str, metric: str = METRIC_OTHERWISE) -> tuple[str, dict[str, Json]]:
        """The tool whose name holds ``word``, and an input about ``component`` that fits what it requires."""
        name = next((one for one in sorted(self.tools) if word in one), min(self.tools))
        schema = self.tools[name]["input_schema"]
        among = schema["properties"].get("resource", {}).get("enum", [""])
        resource = next((one for one in among if one.endswith(f":{component}")), among[0])
        since, until = self.window["since"], self.window["until"]
        known: Mapping[str, Json] = {
            "resource": resource,
            "metric": metric,
            "since_s": since,
            "until_s": until,
            "step_s": max(1, -(-(until - since) // POINTS_MAX)),
            "window_seconds": until - since,
            "end_s": until,
        }
        wanted = [*schema.get("required", ()), *({"end_s"} & set(schema["properties"]))]
        return name, {field: known[field] for field in wanted if field in known}

    def needs(self, component: str) -> list[str]:
        """What ``component`` depends on."""
        return [to for one, to in self.told["depends_on"] if one == component]

    def measured_at(self, component: str, fault: str = "") -> str:
        """Where trouble of ``component`` is measured: at itself, or, where it does not answer or is not ours, at who needs it."""
        kinds = self.told.get("components", {})
        if kinds.get(component, "process") in {"process", "service"} and fault != "dependency-down":
            return component
        return next((one for one, to in self.told["depends_on"] if to == component), component)


def turn(request: Mapping[str, Json]) -> tuple[str, str, Json]:
    """What to say, and the tool with its input."""
    thought = Thought(request)
    return _investigate(thought) if "propose" in thought.tools else _doubt(thought)


# -- the investigation --------------------------------------------------------------------------------------------------


def _investigate(thought: Thought) -> tuple[str, str, Json]:
    used = list(thought.uses())
    names = [block["name"] for block, _ in used]
    leader = thought.told["first_tier"].get("leader")
    if "propose" not in names:
        return "I state what it could be, and what would refute each.", "propose", {"hypotheses": _hypotheses(thought)}
    if leader is None:
        return "Nothing here names a cause.", "submit", {"leader": "none", "claims": []}
    submitted = [(block, came) for block, came in used if block["name"] == "submit"]
    own = [came for block, came in used if block["name"] not in {"propose", "submit"}]
    if not own:
        component = thought.measured_at(leader["component"], leader["fault"])
        metric = METRIC_OF.get(leader["fault"], METRIC_OTHERWISE)
        name, given = thought.query("metrics_range", component, metric)
        return f"I look at {component} myself.", name, given
    if not submitted:
        return (
            "I submit what I saw.",
            "submit",
            _submission([*_plain(leader["claims"]), *_seen(own[-1], overstate=True)]),
        )
    block, came = submitted[-1]
    if len(submitted) >= SUBMISSIONS_MAX or "claims" not in came:
        return "The evidence is not enough. I name no cause.", "submit", {"leader": "none", "claims": []}
    stands = [
        one
        for one, verdict in zip(block["input"]["claims"], came["claims"], strict=False)
        if verdict["verdict"] == "verified"
    ]
    return "The gate refuted a claim of mine; I was wrong there. I submit without it.", "submit", _submission(stands)


def _hypotheses(thought: Thought) -> list[Json]:
    """The first tier's leader, and the three kinds that always have to be thought of."""
    service = thought.told["incident"]["service"]
    deepest = _deepest(thought, service)
    leader = thought.told["first_tier"].get("leader")
    made: list[tuple[str, str, str, str, tuple[str, Json]]] = []
    if leader is not None:
        component, fault = leader["component"], leader["fault"]
        kind = "recent_change" if fault in CHANGES else "upstream_dependency" if component != service else "other"
        measured = thought.query(
            "metrics_range", thought.measured_at(component, fault), METRIC_OF.get(fault, METRIC_OTHERWISE)
        )
        made.append((kind, component, fault, f"what the first tier says: {fault} at {component}", measured))
    always = (
        ("recent_change", service, "bad-config", "somebody changed a setting", thought.query("history_list", "config")),
        (
            "upstream_dependency",
            deepest,
            "dependency-down",
            f"{deepest} does not answer",
            thought.query("logs_search", thought.measured_at(deepest)),
        ),
        ("no_fault", service, "unknown", "nothing is wrong but the alert", thought.query("metrics_range", service)),
    )
    made += [one for one in always if one[0] not in {other[0] for other in made}]
    return [
        {
            "id": f"h{number}",
            "kind": kind,
            "component": component,
            "fault": fault,
            "statement": statement,
            "refuting_query": {"tool": query[0], "input": query[1]},
        }
        for number, (kind, component, fault, statement, query) in enumerate(made, 1)
    ]


def _deepest(thought: Thought, service: str) -> str:
    """What the service depends on, followed to an end."""
    here, seen = service, {service}
    while following := [one for one in thought.needs(here) if one not in seen and _is_running(thought, one)]:
        here = following[-1]
        seen.add(here)
    return here


def _is_running(thought: Thought, component: str) -> bool:
    return thought.told.get("components", {}).get(component) in {"process", "service", "external"}


def _submission(claims: Sequence[Json]) -> Json:
    return {"leader": "h1", "summary": "what the verified claims show", "claims": list(claims)[:20]}


def _plain(claims: Sequence[Mapping[str, Json]]) -> list[Json]:
    """The first tier's claims, with the fields that a submission may have."""
    names = ("observation", "selector", "op", "value", "tolerance", "role", "component", "at", "text")
    kept = [{name: one[name] for name in names if one.get(name) not in (None, "")} for one in claims]
    return [
        {**one, "role": one.get("role", "cause"), "text": one.get("text") or "as the first tier saw"} for one in kept
    ]


def _seen(answer: Mapping[str, Json], *, overstate: bool) -> list[Json]:
    """Claims on the series that grew most: that it grew, and, where asked for, that it grew far more than it did."""
    found = _grown(answer)
    if found is None:
        return []
    place, growth = found
    claim = {"observation": answer["observation"], "selector": f"$.series[{place}].points[*] | delta", "role": "cause"}
    least = str(int(growth)) if growth >= 1 else "0"
    claims = [{**claim, "op": "ge" if growth >= 1 else "gt", "value": least, "text": "it counts up"}]
    if overstate:
        most = str(OVERSTATED * (int(growth) + 1))
        claims.append({**claim, "op": "ge", "value": most, "text": "it counts up steeply"})
    return claims


def _grown(answer: Mapping[str, Json]) -> tuple[int, float] | None:
    """(index, growth) of the series that grew most, those that count successes aside."""
    series = answer.get("summary", {}).get("series", {}) if isinstance(answer.get("summary"), Mapping) else {}
    listed = series.get("first", ()) if isinstance(series, Mapping) else ()
    grown = [
        (float(one["last"][1]) - float(one["first"][1]), place)
        for place, one in enumerate(listed)
        if "last" in one and not FINE & set(map(str, one.get("labels", {}).values()))
    ]
    best = max(grown, default=(0.0, 0))
    return (best[1], best[0]) if best[0] > 0 else None


# -- the skeptic --------------------------------------------------------------------------------------------------------


def _doubt(thought: Thought) -> tuple[str, str, Json]:
    """Ask whether the symptom is there where it is said to be, then predict what the answer must hold."""
    fault, where = thought.told["finding"]["fault"], thought.told["symptom_at"]
    answers = [came for block, came in thought.uses() if block["name"] != "submit"]
    if not answers:
        name, given = thought.query("metrics_range", where, FELT_AS.get(fault, FELT_OTHERWISE))
        return f"If this is right, {where} must feel it. I look.", name, given
    claims = [{**one, "role": "prediction"} for one in _seen(answers[-1], overstate=False)]
    handle = answers[-1].get("observation", "")
    nothing = {
        "observation": handle,
        "selector": "$.series[*]",
        "op": "exists",
        "role": "prediction",
        "text": "it is felt",
    }
    return f"What {where} shows must follow.", "submit", {"predictions": claims or [nothing]}


def _json(content: Json) -> Json:
    """A tool result as an object; an empty one where it is none."""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
