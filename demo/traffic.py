"""Customers of the shop: ``python -m demo.traffic --url URL --seed N [--rate N]`` buys until it is ended.

The orders and their sequence depend on the seed alone; only their times differ between runs.
"""

import argparse
import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from demo.plant import plant
from demo.wire import Json, call


def orders(seed: int) -> Iterator[dict[str, Json]]:
    """All orders of one seed, without end; every customer buys in turn."""
    dice = random.Random(f"orders {seed}")  # noqa: S311 - traffic, not a secret
    customers = [asdict(customer) for customer in plant(seed).customers]
    number = 1000
    while True:
        dice.shuffle(customers)
        for customer in customers:
            number += 1
            yield order(number, dice, customer)


def order(number: int, dice: random.Random, customer: Mapping[str, str]) -> dict[str, Json]:
    """One order of a customer, as the traffic sends it."""
    return {
        "order": number,
        "sku": f"sku-{dice.randrange(100, 1000)}",
        "amount": dice.randrange(500, 20_000),
        "currency": dice.choice(("EUR", "GBP", "SEK", "USD")),
        **customer,
    }


def main() -> None:
    """Send orders at a steady rate."""
    options = argparse.ArgumentParser(prog="demo.traffic")
    options.add_argument("--url", required=True)
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--rate", type=float, default=20.0, help="orders a second")
    given = options.parse_args()
    due = time.monotonic()
    for bought in orders(given.seed):
        with contextlib.suppress(OSError):  # the shop is restarting; customers come back
            call("POST", given.url + "/work", bought, seconds=30.0)
        due = max(due + 1 / given.rate, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
