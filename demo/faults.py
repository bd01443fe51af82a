"""What can go wrong in the shop, whom it strikes and with which values: decided by the seed alone.

- ``bad-config``: a bad change is committed to the configuration and deployed; ``git.change.revert`` heals it.
- ``crash-loop``: a service was killed while it wrote its cache and dies at each start; ``local.cache.clear`` heals it.
- ``dependency-down``: the card network, which is not ours, refuses, fails or hangs; nothing here heals it.
- ``slow-query``: a migration dropped an index; orders get slow, none fails. A person creates the index.
- ``noisy-alert``: an import floods a queue for a moment, twice; its alert flaps, and customers notice nothing.
- ``healthy``: the metrics of a service are not readable; the service is fine.
- ``pool-leak`` (checkout), ``lock-hang`` (inventory), ``bad-cache`` (payments): memory goes bad; a restart heals it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.repository import Author, Change

IN_MEMORY: Mapping[str, str] = {"pool-leak": "checkout", "lock-hang": "inventory", "bad-cache": "payments"}
FAULTS: Sequence[str] = (
    "bad-config", "crash-loop", "dependency-down", "slow-query", "noisy-alert", "healthy", *IN_MEMORY,
)  # fmt: skip
BEHIND_STOREFRONT = ("checkout", "inventory", "payments")
_ENGINEERS = ("m.okafor", "j.lindqvist", "r.castellano", "t.nakagawa", "a.bergmann")


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault as it will happen: ``component`` is at fault; ``values`` are what the fault needs to know."""

    fault: str
    component: str
    wait_samples: int
    """Seconds of healthy traffic before it strikes."""
    change: Change | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def choose(fault: str, seed: int) -> Strike:
    """The strike of one seed; raises ``KeyError`` for an unknown fault."""
    dice = random.Random(f"fault {fault} {seed}")  # noqa: S311 - what breaks in a demonstration
    wait = dice.randrange(6, 10)
    if fault == "bad-config":
        change = _bad_change(dice)
        return Strike(fault, change.service, wait, change)
    if fault in IN_MEMORY:
        return Strike(fault, IN_MEMORY[fault], wait)
    table: dict[str, tuple[str, dict[str, Any]]] = {
        "crash-loop": (dice.choice(BEHIND_STOREFRONT), {"share": dice.uniform(0.3, 0.9)}),
        "dependency-down": ("cardnet", {"manner": dice.choice(("refused", "errors", "hang"))}),
        "slow-query": ("inventory", {}),
        "noisy-alert": (dice.choice(BEHIND_STOREFRONT), {"jobs": dice.randrange(240, 360), "times": 2}),
        "healthy": (dice.choice(BEHIND_STOREFRONT), {}),
    }
    component, values = table[fault]
    return Strike(fault, component, wait, values=values)


def _bad_change(dice: random.Random) -> Change:
    """A change that looks reasonable and breaks the service that reads it."""
    engineer = dice.choice(_ENGINEERS)
    author = Author(engineer, f"{engineer}@shop.internal")
    kept = dice.choice(("EUR", "SEK"))
    limit = dice.randrange(5, 45) * 100
    version = dice.randrange(2, 10)
    return dice.choice(
        (
            Change("checkout", "cents_max = 25000", f"cents_max = {limit}", "checkout: lower the order limit", author),
            Change("checkout", "pool_size = 8", "pool_size = 0", "checkout: let the pool size itself", author),
            Change(
                "payments",
                'currencies = ["EUR", "GBP", "SEK", "USD"]',
                f'currencies = ["{kept}"]',
                f"payments: charge in {kept} only",
                author,
            ),
            Change(
                "inventory",
                'table = "stock"',
                f'table = "stock_v{version}"',
                f"inventory: read stock v{version}",
                author,
            ),
        )
    )
