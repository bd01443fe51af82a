"""Sealing and commitments, and erasing in the middle of a batch."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import PayloadCorrupt, Receipt, RecordInvalid
from audit.log import Erased
from audit.payload import LocalKey, Opened, commitment, open_box, seal
from audit.store import Session, Store
from tests.unit.audit.room import KEY, ORIGIN, TENANT, erasure, intent, open_log

OPENED = Opened(b"s" * 32, b"text")
COMMIT = commitment(OPENED.salt, OPENED.plaintext)


def test_a_sealed_payload_opens_only_as_what_its_record_commits_to() -> None:
    box = seal(KEY, "log ev-0", OPENED, bytes(12))
    assert open_box(KEY, "log ev-0", box, COMMIT) == OPENED
    other = commitment(OPENED.salt, b"texu")
    for key, context, sealed, commit in (
        (KEY, "log ev-0", box, other),
        (KEY, "log ev-1", box, COMMIT),
        (bytes(32), "log ev-0", box, COMMIT),
        (KEY, "log ev-0", box[:-1], COMMIT),
        (KEY, "log ev-0", b"", COMMIT),
        (KEY, "log ev-0", seal(KEY, "log ev-0", Opened(b"t" * 32, b"text"), bytes(12)), COMMIT),
    ):
        with pytest.raises(PayloadCorrupt):
            open_box(key, context, sealed, commit)


def test_a_wrapped_key_opens_only_under_its_name() -> None:
    wrapped = LocalKey(KEY).wrap("log ses_1", b"d" * 32, bytes(12))
    assert LocalKey(KEY).unwrap("log ses_1", wrapped) == b"d" * 32
    for key, context in ((LocalKey(KEY), "log ses_2"), (LocalKey(bytes(32)), "log ses_1")):
        with pytest.raises(PayloadCorrupt):
            key.unwrap(context, wrapped)


def test_an_erasure_between_two_payloads_of_one_batch_lets_none_through(
    store: Store, tmp_path: Path, connect: Callable[[Store], Session]
) -> None:
    async def main() -> None:
        log = open_log(store, tmp_path)
        early = intent("ev-0", payload=b"early", payload_key="ses_1")
        late = intent("ev-1", payload=b"late", payload_key="ses_1")
        waiting = [
            asyncio.ensure_future(log.append(TENANT, early)),
            asyncio.ensure_future(log.erase(TENANT, "ses_1", erasure("er-0", "ses_1"))),
            asyncio.ensure_future(log.append(TENANT, late)),
        ]
        await asyncio.sleep(0)
        await log.start()  # the writer takes all three in one transaction
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Receipt, Receipt, RecordInvalid]
        entry = await log.find(TENANT, "ev-0")
        assert entry is not None
        assert await log.payload(TENANT, entry) == Erased("ses_1")
        await log.aclose()

    asyncio.run(main())
    session = connect(store)
    assert session.rows("SELECT count(*) FROM audit_payload") == [(0,)]
    assert session.data_keys(ORIGIN, ["ses_1"]) == {"ses_1": b""}
