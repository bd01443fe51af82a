"""Exports of the log: asked for by a decided act, made by the background out of the log itself, kept until they expire.

The index is no evidence, so an export reads the log from its first record to the last that there was when it was asked
for. Its bytes lie in the gate's database, so that any replica gives them; its digest is on record (kind ``export``).
"""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from broker.clock import Clock, seconds
from broker.errors import NotFound
from broker.logbook import bundle
from broker.logbook.index import LogIndex
from broker.logbook.lines import Line, Lines
from broker.logbook.names import Names
from broker.model import Json, Principal
from broker.records import Entry, Records
from broker.store import Store
from broker.store import exports as rows
from broker.store.exports import ExportRow
from broker.store.logindex import Sought
from broker.work import Claimed, Work

PAGE = 500
KEPT_SECONDS = 86_400
BYTES_MAX = 268_435_456
BUNDLE_RECORDS_MAX = 20_000
HOLD_SECONDS = 120
TOLD_EVERY = 5_000
"""Records after which progress is written down."""
_RESTING = ("intent", "review")
"""Kinds of records that mean nothing without the approval behind them."""
_NAMES = {"jsonl": "records.jsonl", "csv": "records.csv", "bundle": "bundle.tar"}


class _TooMuch(Exception):
    """The export would be larger than one may be."""


@dataclass(slots=True)
class _Made:
    """What was gathered so far."""

    entries: int = 0
    first: int = -1
    last: int = -1
    kinds: frozenset[str] = frozenset()
    approvals: set[str] = field(default_factory=set)
    """Approvals that the actions and reviews among them rest on; gathered for a bundle only."""


class Exports:
    """Acts about exports, and the step that makes one."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        records: Records,
        lines: Lines,
        index: LogIndex,
        names: Names,
        store: Store,
        work: Work,
        clock: Clock,
        folder: Path,
    ) -> None:
        """``folder`` holds half-made files, one at a time, and nothing afterwards."""
        self._records = records
        self._lines = lines
        self._index = index
        self._names = names
        self._store = store
        self._work = work
        self._clock = clock
        self._folder = folder

    # -- acts -------------------------------------------------------------------------------------------------------

    async def create(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Put an export down; the background makes it. The same action makes it once."""
        tenant, export = principal.tenant, "exp_" + str(said["action_id"]).removeprefix("act_")
        whole = {"effect": "", "code": "", "resource": "", "tier": -1, "own": True, **said}
        sought = self._index.sought(tenant, whole)
        last, now = await self._records.size(tenant), seconds(self._clock)
        query = asdict(sought) | {"kinds": list(sought.kinds)}
        await self._store.write(
            lambda c: rows.add(
                c, tenant, export, party=principal.acting.id, form=said["form"], query=query, last=last, now_s=now
            )
        )
        await self._work.put(tenant, "export", export)
        return {"export": export, "state": "due", "records": last}

    async def read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """One export, or a page of all, the newest first."""
        if said["export"]:
            return _shown(await self._one(principal.tenant, said["export"]))
        found = await self._store.read(lambda c: rows.page(c, principal.tenant, 50, said["after"]))
        return {"exports": [_shown(one) for one in found.items], "after": found.after}

    async def fetch(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Say that it is there; its bytes are the route's to give."""
        row = await self._one(principal.tenant, said["export"])
        if row.state != "done" or seconds(self._clock) >= row.expires_at:
            raise NotFound("the export is not made yet, or has expired", code="export.not_there")
        return {**_shown(row), "name": f"{row.id}-{_NAMES[row.form]}"}

    async def content(self, tenant: str, export: str) -> AsyncIterator[bytes]:
        """Bytes of an export that ``fetch`` permitted."""
        number = 0
        while (part := await self._part(tenant, export, number)) is not None:
            yield part
            number += 1

    async def _part(self, tenant: str, export: str, number: int) -> bytes | None:
        return await self._store.read(lambda c: rows.part(c, tenant, export, number))

    async def _one(self, tenant: str, export: str) -> ExportRow:
        row = await self._store.read(lambda c: rows.find(c, tenant, export))
        if row is None:
            raise NotFound("there is no such export", code="export.not_found")
        return row

    # -- making one -------------------------------------------------------------------------------------------------

    async def step(self, claimed: Claimed) -> None:
        """Make the export that is due; raises ``BrokerError``, and then it comes again."""
        row = await self._one(claimed.tenant, claimed.subject)
        if row.state == "due":
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                try:
                    await self._make(claimed, row, Path(folder))
                except _TooMuch as over:
                    await self._change(row, state="failed", error=str(over))
        await self._work.done(claimed)

    async def _make(self, claimed: Claimed, row: ExportRow, folder: Path) -> None:
        made = await self._gather(claimed, row, folder)
        path = folder / {"jsonl": bundle.ENTRIES, "csv": bundle.EVENTS, "bundle": bundle.TAR}[row.form]
        if row.form == "bundle":
            await self._bundle(claimed, row, made, folder)
        digest = await self._keep(row, path)
        await self._records.export(
            row.tenant,
            export=row.id,
            digest=digest,
            entries=made.entries,
            first=max(made.first, 0),
            last=max(made.last, 0),
            kinds=sorted(made.kinds),
            session=row.query["session"],
        )
        expires = seconds(self._clock) + KEPT_SECONDS
        size = path.stat().st_size
        await self._change(
            row, state="done", digest=digest, entries=made.entries, seen=row.last, bytes=size, expires_at=expires
        )

    async def _gather(self, claimed: Claimed, row: ExportRow, folder: Path) -> _Made:
        """Every record that fits, as exact bytes and as a line of the table."""
        made, placed_at, after = _Made(), 0, -1
        sought = Sought(**row.query | {"kinds": tuple(row.query["kinds"])})
        with (folder / bundle.ENTRIES).open("wb") as entries, (folder / bundle.EVENTS).open("wb") as table:
            table.write(bundle.csv_head())
            while after + 1 < row.last:
                page = await self._records.entries(row.tenant, after=after, limit=min(PAGE, row.last - after - 1))
                if not page:
                    break
                found = []
                for entry, line in zip(page, await self._lines.of(row.tenant, page), strict=True):
                    placed_at = max(placed_at, line.at)
                    if sought.fits(line, placed_at):
                        found.append((entry, line))
                await self._write(row, made, found, (entries, table))
                after = page[-1].seq
                if after // TOLD_EVERY != (after - len(page)) // TOLD_EVERY:
                    await self._still(claimed, row, after + 1, made)
        return made

    async def _write(
        self, row: ExportRow, made: _Made, found: Sequence[tuple[Entry, Line]], out: tuple[IO[bytes], IO[bytes]]
    ) -> None:
        name_of = await self._names.of(row.tenant, {ref for _, line in found for ref in (line.who, line.behalf)})
        for entry, line in found:
            out[0].write(entry.encoded + b"\n")
            out[1].write(bundle.csv_line(line, name_of, entry.leaf))
            made.first = entry.seq if made.first < 0 else made.first
        if found:
            made.last = found[-1][0].seq
            made.entries += len(found)
            made.kinds |= {line.kind for _, line in found}
            if row.form == "bundle":
                made.approvals |= {line.approval for _, line in found if line.kind in _RESTING and line.approval}
        if out[0].tell() > BYTES_MAX or (row.form == "bundle" and made.entries > BUNDLE_RECORDS_MAX):
            raise _TooMuch("export.too_large")

    async def _bundle(self, claimed: Claimed, row: ExportRow, made: _Made, folder: Path) -> None:
        """Proofs under one checkpoint, the manifest, the verifier and the page for the auditor."""
        with (folder / bundle.SIGNING).open("wb") as signing:
            await self._behind(claimed, row, made, signing)
        note = await self._records.checkpoint(row.tenant)
        size = int(note.split("\n")[1])
        for records, proofs in ((bundle.ENTRIES, bundle.PROOFS), (bundle.SIGNING, bundle.SIGNING_PROOFS)):
            with (folder / records).open("rb") as lines, (folder / proofs).open("wb") as out:
                while numbers := bundle.numbers_of(lines, 100):
                    paths = await self._records.inclusions(row.tenant, numbers, size)
                    out.writelines(bundle.proof_line(seq, path) for seq, path in zip(numbers, paths, strict=True))
                    await self._still(claimed, row, row.last, made)
        bundle.finish(folder, note, str(self._records.verifier(row.tenant)), row.query, made.entries)

    async def _behind(self, claimed: Claimed, row: ExportRow, made: _Made, out: IO[bytes]) -> None:
        """What the approvals rest on: proposals, all answers, and the life of each security key that signed one.

        Only ids are kept, and the records are written as they come.
        """
        used: set[str] = set()
        async for body, _ in self._of_kinds(claimed, row, made, ["review"]):
            if body["approval"]["id"] in made.approvals and "signature" in body:
                used.add(body["signature"]["credential"])
        async for body, encoded in self._of_kinds(claimed, row, made, ["proposal", "review", "authenticator"]):
            asked, key = body.get("approval", {}).get("id"), body.get("authenticator", {}).get("credential")
            if asked in made.approvals or key in used:
                out.write(encoded + b"\n")
            if out.tell() > BYTES_MAX:
                raise _TooMuch("export.too_large")

    async def _of_kinds(
        self, claimed: Claimed, row: ExportRow, made: _Made, kinds: list[str]
    ) -> AsyncIterator[tuple[Mapping[str, Any], bytes]]:
        """Bodies and bytes of these records, up to the last that there was; none where no approval was gathered."""
        after = -1
        while made.approvals and (
            page := await self._records.entries(row.tenant, after=after, limit=PAGE, kinds=kinds)
        ):
            for entry in page:
                if entry.seq < row.last:
                    yield entry.body, entry.encoded
            after = page[-1].seq
            if after >= row.last:
                return
            await self._still(claimed, row, row.last, made)

    async def _keep(self, row: ExportRow, path: Path) -> str:
        """Put the bytes where every replica finds them; their SHA-256."""
        await self._store.write(lambda c: rows.clear(c, row.tenant, row.id))
        digest, number = hashlib.sha256(), 0
        with path.open("rb") as file:
            while content := file.read(rows.PART_BYTES):
                digest.update(content)
                await self._store.write(
                    lambda c, n=number, part=content: rows.write(c, row.tenant, row.id, n, part)  # type: ignore[misc]
                )
                number += 1
        return digest.hexdigest()

    async def _still(self, claimed: Claimed, row: ExportRow, seen: int, made: _Made) -> None:
        """Say how far it is, and hold the work for longer; ``Conflict`` where somebody else has it."""
        await self._work.renew(
            claimed.tenant, claimed.id, holder=claimed.holder, fence=claimed.fence, hold_s=HOLD_SECONDS
        )
        await self._change(row, seen=seen, entries=made.entries)

    async def _change(self, row: ExportRow, **values: Any) -> None:
        now = seconds(self._clock)
        await self._store.write(lambda c: rows.change(c, row.tenant, row.id, changed_at=now, **values))

    async def sweep(self) -> None:
        """Forget the bytes of what has expired."""
        now = seconds(self._clock)
        for tenant, export in await self._store.read(lambda c: rows.over(c, now)):
            await self._store.write(lambda c, t=tenant, e=export: rows.clear(c, t, e))  # type: ignore[misc]
            await self._store.write(
                lambda c, t=tenant, e=export: rows.change(c, t, e, state="expired", changed_at=now)  # type: ignore[misc]
            )


def _shown(row: ExportRow) -> dict[str, Json]:
    """An export as answers carry it."""
    return {name: value for name, value in asdict(row).items() if name not in {"tenant", "id"}} | {"export": row.id}
