"""Names behind the keyed pseudonyms of leaves: of the parties that this gate has met, for people who may read the log."""

from collections.abc import Callable

from broker.clock import Clock
from broker.records import Records
from broker.store import Store, logusage, parties

AGAIN_SECONDS = 5.0
"""How long an unknown pseudonym waits until the parties are looked at again."""


class Names:
    """Pseudonym to party id, per tenant; computed with the log's key, stored nowhere."""

    def __init__(self, store: Store, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._known: dict[str, dict[str, str]] = {}
        self._read_at: dict[str, float] = {}

    async def of(self, tenant: str, refs: set[str]) -> Callable[[str], str]:
        """A function from pseudonym to name, empty for one that nobody known has. Raises ``StoreUnavailable``."""
        known = self._known.get(tenant, {})
        now, last = self._clock.monotonic(), self._read_at.get(tenant)
        if not refs <= known.keys() | {""} and (last is None or now - last >= AGAIN_SECONDS):
            self._read_at[tenant] = now
            asked = await self._store.read(lambda c: [*parties.ids(c, tenant), *logusage.names(c, tenant)])
            ids = {"gate", *asked}
            fresh = ids - set(known.values())
            known = known | {self._records.ref(tenant, "per", one): one for one in fresh}
            self._known[tenant] = known
        return lambda ref: known.get(ref, "")
