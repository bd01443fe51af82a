"""What may stand in a model call, what passes unread in it, and which events of a stream are known."""

import base64
import random
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from broker import modelwire
from broker.errors import BadRequest, UpstreamFailed
from broker.redaction import redact_text

SIGNATURE = base64.b64encode(random.Random(7).randbytes(240)).decode()
USER = {"role": "user", "content": "hello"}
CACHED = {"type": "ephemeral", "ttl": "1h"}
CODING_AGENT: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 32000,
    "stream": True,
    "temperature": 1,
    "top_p": 0.9,
    "top_k": 40,
    "stop_sequences": ["</end>"],
    "system": [{"type": "text", "text": "You are a coding agent.", "cache_control": CACHED}],
    "metadata": {"user_id": "user_1_account__session_2"},
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "cache_control": CACHED,
    "tools": [
        {"name": "Bash", "description": "run", "input_schema": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "Read", "input_schema": {}, "cache_control": CACHED, "eager_input_streaming": True},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "fix it", "cache_control": CACHED}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": SIGNATURE},
                {"type": "text", "text": "so", "citations": None},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "Bash",
                    "input": {"c": "ls"},
                    "caller": {"type": "direct"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": False,
                    "content": [
                        {"type": "text", "text": "a.py"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    ],
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
                    "title": "t",
                },
            ],
        },
    ],
}


def said(block: Mapping[str, Any], role: str = "user") -> dict[str, Any]:
    return {"model": "claude-sonnet-5-5", "max_tokens": 1, "messages": [{"role": role, "content": [block]}]}


def test_a_coding_agents_call_passes_and_policy_learns_its_facts() -> None:
    assert modelwire.facts(CODING_AGENT) == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 32000,
        "stream": True,
        "tools": ["Bash", "Read"],
        "provider_tools": [],
        "inference_geo": "",
    }


def test_a_tool_of_the_provider_is_named_to_policy_by_name_and_by_type() -> None:
    tools = [{"type": "web_fetch_20260101", "name": "reader", "allowed_domains": ["example.org"]}]
    found = modelwire.facts({**CODING_AGENT, "tools": tools, "inference_geo": "eu"})
    assert found["tools"] == ["reader", "web_fetch_20260101"]
    assert found["provider_tools"] == ["web_fetch_20260101"]
    assert found["inference_geo"] == "eu"


ELSEWHERE = "https://elsewhere.example/x?y=1"
FORBIDDEN: list[tuple[str, dict[str, Any]]] = [
    ("mcp_servers", {"mcp_servers": [{"url": ELSEWHERE}]}),
    ("container", {"container": ELSEWHERE}),
    ("service_tier", {"service_tier": "auto"}),
    ("fallbacks", {"fallbacks": [{"model": "other"}]}),
    ("betas", {"betas": ["mcp-client-2025-11-20"]}),
    ("metadata.session", {"metadata": {"session": "x"}}),
    ("metadata", {"metadata": ELSEWHERE}),
    ("inference_geo", {"inference_geo": ["us"]}),
    ("system[0].type", {"system": [{"type": "image", "source": {}}]}),
    ("tools[0].url", {"tools": [{"name": "a", "input_schema": {}, "url": ELSEWHERE}]}),
    ("tools[0].type", {"tools": [{"name": "a", "type": [ELSEWHERE]}]}),
    ("context_management.edits[0].type", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("output_config.url", {"output_config": {"url": ELSEWHERE}}),
    ("messages[0].name", {"messages": [{**USER, "name": "x"}]}),
    ("messages[0].role", {"messages": [{**USER, "role": "tool"}]}),
    ("messages[0]", {"messages": ["hello"]}),
]
BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("source.type", {"type": "image", "source": {"type": "url", "url": ELSEWHERE}}),
    ("source.type", {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    ("source.type", {"type": "image", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
    ("source.type", {"type": "document", "source": {"type": "url", "url": ELSEWHERE}}),
    (
        "source.url",
        {"type": "document", "source": {"type": "base64", "media_type": "a/b", "data": "", "url": ELSEWHERE}},
    ),
    (
        "source.content[0].source.type",
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url", "url": ELSEWHERE}}]},
        },
    ),
    (
        "content[0].source.type",
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "image", "source": {"type": "url", "url": ELSEWHERE}}],
        },
    ),
    ("type", {"type": "container_upload", "file_id": "file_1"}),
    ("type", {"type": ["text"], "text": "x"}),
    ("url", {"type": "text", "text": "x", "url": ELSEWHERE}),
    ("cache_control.url", {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "url": ELSEWHERE}}),
]


@pytest.mark.parametrize(
    ("field", "body"),
    [(field, {**said({"type": "text", "text": "x"}), **more}) for field, more in FORBIDDEN]
    + [(f"messages[0].content[0].{field}", said(block)) for field, block in BLOCKS],
)
def test_a_field_that_makes_the_provider_do_more_is_refused_by_its_name_alone(field: str, body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        modelwire.facts(body)
    assert refused.value.error_code == "model.field_not_allowed"
    assert f"`{field}`" in refused.value.detail
    assert refused.value.error_remedy
    assert "elsewhere.example" not in refused.value.detail + refused.value.error_remedy


def test_a_field_named_like_a_secret_is_not_repeated() -> None:
    with pytest.raises(BadRequest) as refused:
        modelwire.facts({**CODING_AGENT, "alice.miller@example.org": 1})
    assert "alice" not in refused.value.detail


def test_only_an_assistants_own_thinking_blocks_have_values_that_stand_apart() -> None:
    bare, taken = modelwire.take_opaque(CODING_AGENT)
    assert taken == {
        ("messages", 1, "content", 0, "signature"): SIGNATURE,
        ("messages", 1, "content", 1, "data"): SIGNATURE,
    }
    assert SIGNATURE not in orjson.dumps(bare).decode()
    assert modelwire.put_back(bare, taken) == CODING_AGENT
    assert SIGNATURE in orjson.dumps(CODING_AGENT).decode()


@pytest.mark.parametrize(
    "body",
    [
        said({"type": "thinking", "thinking": "", "signature": SIGNATURE}),
        said({"type": "thinking", "thinking": "", "signature": SIGNATURE, "cache_control": CACHED}, "assistant"),
        said({"type": "thinking", "thinking": "", "signature": "QUtJQUlPU0ZPRE5ON0VYQU1QTEU="}, "assistant"),
        said({"type": "thinking", "thinking": "", "signature": SIGNATURE + " "}, "assistant"),
        said({"type": "tool_use", "input": {"type": "redacted_thinking", "data": SIGNATURE}}, "assistant"),
        said({"type": "redacted_thinking", "data": SIGNATURE, "signature": SIGNATURE}, "assistant"),
        {"tools": [{"type": "redacted_thinking", "data": SIGNATURE}]},
        {"metadata": {"type": "thinking", "signature": SIGNATURE}},
        {"type": "redacted_thinking", "data": SIGNATURE},
    ],
)
def test_the_same_form_anywhere_else_is_text(body: dict[str, Any]) -> None:
    assert modelwire.take_opaque(body) == (body, {})


def test_a_scan_finds_nothing_in_a_thousand_signatures() -> None:
    source = random.Random(20260101)
    for _ in range(1_000):
        made = base64.b64encode(source.randbytes(source.randrange(48, 1_500))).decode()
        text, findings = redact_text(made, key=b"k" * 32)
        assert (text, findings) == (made, []), made


def test_of_a_reply_only_ids_words_and_signatures_stand_apart() -> None:
    message = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "stop_sequence": "alice@example.org",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": SIGNATURE},
            {"type": "tool_use", "id": "4111111111111111", "name": "x", "input": {"signature": SIGNATURE}},
            {"type": "text", "text": "toolu_1", "citations": None},
        ],
    }
    bare, kept = modelwire.take_wire(message)
    assert sorted(kept.values()) == sorted([
        "msg_01XFDUDYJgAACzvnptvVoYEL", "message", "assistant", "claude-sonnet-5-5", "thinking", SIGNATURE, "tool_use", "text",
    ])  # fmt: skip
    assert modelwire.put_back(bare, kept) == message
    assert modelwire.take_wire({"type": "error", "error": {"type": "x"}}) == (
        {"type": "error", "error": {"type": "x"}},
        {},
    )


@pytest.mark.parametrize(
    ("name", "event", "code"),
    [
        ("message", {"type": "content_block_delta"}, "stream.unknown_event"),
        ("ping", {"type": "content_block_delta", "index": 0, "delta": {}}, "stream.unknown_event"),
        ("content_block_hint", {"type": "content_block_hint"}, "stream.unknown_event"),
        ("content_block_delta", {"type": "content_block_delta", "index": "0", "delta": {}}, "upstream.garbage"),
        ("content_block_delta", {"type": "content_block_delta", "index": True, "delta": {}}, "upstream.garbage"),
        ("content_block_delta", {"type": "content_block_delta", "index": 0}, "upstream.garbage"),
        ("message_start", {"type": "message_start", "message": "hello"}, "upstream.garbage"),
        ("ping", ["ping"], "upstream.garbage"),
    ],
)
def test_an_event_outside_the_closed_set_is_no_event(name: str, event: Any, code: str) -> None:
    with pytest.raises(UpstreamFailed) as refused:
        modelwire.read_event(name, orjson.dumps(event))
    assert refused.value.error_code == code


@pytest.mark.parametrize(
    ("delta", "code"),
    [
        ({"type": "compaction_delta", "content": "alice"}, "stream.unknown_event"),
        ({"type": ["text_delta"], "text": "alice"}, "stream.unknown_event"),
        ({"text": "alice"}, "stream.unknown_event"),
        ({"type": "text_delta", "text": ["alice"]}, "upstream.garbage"),
        ({"type": "signature_delta", "signature": "alice@example.org"}, "upstream.garbage"),
    ],
)
def test_a_delta_outside_the_closed_set_is_no_delta(delta: dict[str, Any], code: str) -> None:
    with pytest.raises(UpstreamFailed) as refused:
        modelwire.read_delta({"type": "content_block_delta", "index": 0, "delta": delta})
    assert refused.value.error_code == code
