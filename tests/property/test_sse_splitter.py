"""However a stream is cut into chunks, its events are the same, and their bytes are the stream's."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connectors.llm_sse import SseEvent, SseSplitter, StreamFacts
from broker.errors import UpstreamFailed

BREAKS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.one_of(
    st.sampled_from(
        [b"event: ping", b"event:message_stop", b"data: {}", b"data", b": comment", b"id: 1", b"data: \xc3\xa9\xff"]
    ),
    st.binary(max_size=12).filter(lambda raw: not {10, 13} & set(raw)),
)
STREAMS = st.lists(st.tuples(LINES, BREAKS), max_size=30).map(lambda parts: b"".join(line + end for line, end in parts))


def whole(data: bytes) -> list[SseEvent]:
    return list(SseSplitter().feed(data))


@given(data=STREAMS, cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_any_split_gives_the_same_events_and_loses_no_byte(data: bytes, cuts: list[int]) -> None:
    splitter, events = SseSplitter(), []
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in itertools.pairwise(edges):
        events += splitter.feed(data[start:end])
    assert events == whole(data)
    assert b"".join(event.raw for event in events) + splitter.rest() == data


@given(data=st.binary(max_size=300))
def test_any_bytes_one_at_a_time_are_passed_on_unchanged(data: bytes) -> None:
    splitter, events = SseSplitter(), []
    facts = StreamFacts()
    for byte in data:
        events += splitter.feed(bytes([byte]))
    for event in events:
        facts.see(event)
    assert b"".join(event.raw for event in events) + splitter.rest() == data
    assert facts.bytes == len(data) - len(splitter.rest())


def test_names_and_data_are_read_as_the_specification_says() -> None:
    events = whole(b": hi\n\nevent: a\ndata: 1\ndata:2\n\ndata:  x\r\n\r\nevent: message_stop\rdata: {}\r\r\n")
    assert [(event.name, event.data) for event in events] == [
        ("message", b""),
        ("a", b"1\n2"),
        ("message", b" x"),
        ("message_stop", b"{}"),
    ]


def test_an_event_without_end_is_bounded() -> None:
    splitter = SseSplitter(event_bytes_max=100)
    assert list(splitter.feed(b"data: " + b"x" * 94)) == []
    with pytest.raises(UpstreamFailed):
        list(splitter.feed(b"x"))


def test_a_long_event_in_many_chunks_is_scanned_once() -> None:
    splitter = SseSplitter()
    for _ in range(2000):
        assert list(splitter.feed(b"data: " + b"x" * 500 + b"\n")) == []
    assert splitter._scanned == len(splitter.rest())
    assert len(list(splitter.feed(b"\n"))) == 1
