"""Reads records one by one, in order, and notes what does not fit: form, chain, streams, intents, signed approvals, payloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from audit.canonical import Plain
from audit.errors import RecordInvalid
from audit.merkle import EMPTY_ROOT
from audit.payload import Opened, commitment
from audit.record import CLOSING, read
from audit.signed import Signatures


class Verdict(StrEnum):
    """What was found. `attention` is no failure: something a person should look at."""

    OK = "ok"
    FAILED = "failed"
    ATTENTION = "attention"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """Verdict on one property; `record` is the first record that is wrong, where one can be named."""

    name: str
    verdict: Verdict
    detail: str
    record: int | None = None


@dataclass(slots=True)
class _Finding:
    """First thing wrong with one property."""

    name: str
    record: int | None = None
    detail: str = ""

    def note(self, record: int, detail: str) -> None:
        if self.record is None:
            self.record, self.detail = record, detail

    def check(self, good: str) -> Check:
        if self.record is None:
            return Check(self.name, Verdict.OK, good)
        return Check(self.name, Verdict.FAILED, f"record {self.record}: {self.detail}", self.record)


@dataclass(frozen=True, slots=True)
class _Committed:
    record: int
    key: str
    commit: str


class Ledger:
    """State over the records of one log, from the first on; `payloads` are by event id."""

    def __init__(self, log: str, payloads: Mapping[str, Opened] | None) -> None:
        self._log, self._payloads = log, payloads
        self._form, self._chain = _Finding("canonical"), _Finding("chain")
        self._stream_check, self._payload_check = _Finding("streams"), _Finding("payloads")
        self._count = 0
        self._prev = EMPTY_ROOT
        self._tenant: str | None = None
        self._ids: set[str] = set()
        self._streams: dict[str, tuple[int, str]] = {}
        self._open: dict[str, int] = {}
        self._unknown: dict[str, int] = {}
        self._commits: dict[str, _Committed] = {}
        self._erased: dict[str, int] = {}
        self._signed = Signatures()

    def take(self, index: int, entry: bytes, leaf: bytes) -> None:
        """Read the next record. One that cannot be read is noted and skipped."""
        self._count += 1
        prev, self._prev = self._prev, leaf
        try:
            record = read(entry)
        except RecordInvalid as error:
            self._form.note(index, str(error))
            self._chain.note(index, "the record cannot be read")
            return
        self._linked(index, record, prev)
        self._streamed(index, record, leaf)
        self._related(index, record)
        self._committed(index, record)
        self._signed.take(index, record)

    def checks(self) -> list[Check]:
        """Return the verdicts after the last record."""
        return [
            self._form.check(f"{self._count} records in the one form of their profile"),
            self._chain.check(f"{self._count} records, each names the hash of the one before it"),
            self._stream_check.check(f"{len(self._streams)} streams without a gap"),
            self._intents(),
            self._signatures(),
            self._payload_verdict(),
        ]

    def _linked(self, index: int, record: dict[str, Plain], prev: bytes) -> None:
        event_id = str(record["id"])
        self._tenant = self._tenant or str(record["tenant"])
        expected = (("seq", index), ("log", self._log), ("tenant", self._tenant), ("prev", prev.hex()))
        for name, value in expected:
            if record[name] != value:
                self._chain.note(index, f"{name} is {record[name]!r} instead of {value!r}")
        if event_id in self._ids:
            self._chain.note(index, f"the event id {event_id} stands in the log twice")
        self._ids.add(event_id)

    def _streamed(self, index: int, record: dict[str, Plain], leaf: bytes) -> None:
        streams = record.get("streams", [])
        assert isinstance(streams, list)
        for place in streams:
            assert isinstance(place, dict)
            name = str(place.get("id"))
            number, prev = self._streams.get(name, (-1, EMPTY_ROOT.hex()))
            if (place.get("seq"), place.get("prev")) != (number + 1, prev):
                self._stream_check.note(index, f"is not number {number + 1} of stream {name} behind {prev[:16]}…")
            self._streams[name] = (number + 1, leaf.hex())

    def _related(self, index: int, record: dict[str, Plain]) -> None:
        if record["kind"] == "intent":
            self._open[str(record["id"])] = index
        elif record["kind"] in CLOSING:
            about = str(record["about"])
            self._open.pop(about, None)
            if about not in self._ids:
                self._unknown[about] = index

    def _committed(self, index: int, record: dict[str, Plain]) -> None:
        body, named = record["body"], record.get("payload")
        if record["kind"] == "erasure" and isinstance(body, dict) and isinstance(body.get("erasure"), dict):
            self._erased.setdefault(str(body["erasure"]["key"]), index)  # type: ignore[index,call-overload]
        if isinstance(named, dict):
            event_id = str(record["id"])
            self._commits[event_id] = _Committed(index, str(named.get("key")), str(named.get("commit")))
            given = (self._payloads or {}).get(event_id)
            if given is not None and commitment(given.salt, given.plaintext) != named.get("commit"):
                self._payload_check.note(index, "the payload given is not what the record commits to")

    def _intents(self) -> Check:
        if self._unknown:
            about, index = next(iter(self._unknown.items()))
            detail = f"record {index} closes {about}, which is not in this log"
            return Check("intents", Verdict.ATTENTION, detail, index)
        if self._open:
            about, index = next(iter(self._open.items()))
            detail = f"{len(self._open)} without an outcome, the first is {about} in record {index}"
            return Check("intents", Verdict.ATTENTION, detail, index)
        return Check("intents", Verdict.OK, "every intent has its outcome")

    def _signatures(self) -> Check:
        if self._signed.wrong is not None:
            index, problem = self._signed.wrong
            return Check("signatures", Verdict.FAILED, f"record {index}: {problem}", index)
        said = f"{self._signed.count} signed approvals hold" if self._signed.count else "no approval had to be signed"
        lacks = [
            f"{count} actions {why}"
            for count, why in (
                (self._signed.unproposed, "whose approval was never proposed here"),
                (self._signed.spared, "without signed approvals, by break-glass or under another policy"),
            )
            if count
        ]
        return Check("signatures", Verdict.ATTENTION if lacks else Verdict.OK, "; ".join([said, *lacks]))

    def _payload_verdict(self) -> Check:
        total = len(self._commits)
        erased = sum(1 for one in self._commits.values() if self._erased.get(one.key, -1) > one.record)
        gone = f"; {erased} erased (data keys destroyed by records {sorted(self._erased.values())})" if erased else ""
        if self._payload_check.record is not None:
            return self._payload_check.check("")
        if total == erased:
            return Check("payloads", Verdict.OK, f"none to check{gone}" if total else "no record has a payload")
        given = sum(1 for event_id in self._commits if event_id in (self._payloads or {}))
        if given + erased >= total:
            return Check("payloads", Verdict.OK, f"{given} of {total} fit their commitments{gone}")
        detail = f"{total - given - erased} of {total} payloads were not given: use --payloads FILE{gone}"
        return Check("payloads", Verdict.NOT_CHECKED, detail)
