"""Who is served next: control before writes before reads before model calls, each lane with its bounds.

A place in a lane is one request at work on this process's one event loop; who waits for an upstream or a person has
stepped out. Control has places of its own, which nothing else can take. The other lanes share theirs: a free one goes to the
first lane that has room and somebody waiting, and within a lane to the tenants in turn. Who would wait behind a full queue,
or has waited too long, is told to come again; where the queue is full it is the tenant with most in it that gives way.
"""

from collections.abc import Iterator
from typing import Literal

from broker.config import WebSettings
from broker.fair import Lane

Name = Literal["control", "write", "read", "model"]
SHARED: tuple[Name, ...] = ("write", "read", "model")
"""In the order in which they are served."""


class Lanes:
    """All lanes of one process; used from its event loop alone."""

    def __init__(self, web: WebSettings) -> None:
        """Places and waits are ``web``'s."""
        places = web.work_places
        shares: dict[Name, int] = {
            "control": web.control_places,
            "write": places,
            "read": max(1, places * 3 // 4),
            "model": max(1, places // 2),
        }
        self.lanes: dict[Name, Lane] = {name: Lane(name, most, web.waiting_max) for name, most in shares.items()}
        self._places = places
        self.outside = 0
        """Requests that wait for somebody else."""
        self._outside_max = web.outside_max
        self._patience = web.waiting_seconds_max

    async def enter(self, name: Name, tenant: str) -> "Place":
        """Take a place, or wait for one. Raises ``Unavailable`` (``gate.overloaded``)."""
        lane = self.lanes[name]
        if not lane.waiting and self._free(lane):
            lane.running += 1
            return Place(self, lane)
        await lane.wait(tenant, self._patience, self.leave)
        return Place(self, lane)

    def takes(self, name: Name, tenant: str) -> bool:
        """Whether one of ``tenant`` would get a place, or may wait for one."""
        lane = self.lanes[name]
        return not lane.full or (not lane.waiting and self._free(lane)) or lane.room_for(tenant)

    def leave(self, lane: Lane) -> None:
        """Give a place back; whoever is next gets it."""
        lane.running -= 1
        self.serve()

    def depths(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, how many wait, how many may, how many were turned away."""
        for lane in self.lanes.values():
            yield f"lane_{lane.name}", *lane.depth

    def _free(self, lane: Lane) -> bool:
        if lane.running >= lane.places:
            return False
        if lane.name == "control":
            return True
        return self.outside < self._outside_max and sum(self.lanes[name].running for name in SHARED) < self._places

    def serve(self) -> None:
        """Give free places away, the first lane first."""
        for lane in self.lanes.values():
            while self._free(lane) and lane.give():
                pass


class Place:
    """One request's place. Waiting for somebody else it steps out; given back once, it is never taken again."""

    def __init__(self, lanes: Lanes, lane: Lane) -> None:
        self._lanes = lanes
        self._lane = lane
        self._outside = False
        self._left = False

    def step_out(self) -> None:
        """Wait outside; whoever is next gets the place."""
        if not self._left:
            self._outside = True
            self._lanes.outside += 1
            self._lanes.leave(self._lane)

    def step_in(self) -> None:
        """Go on: what was begun is finished, if need be over the bound."""
        if not self._left:
            self._outside = False
            self._lanes.outside -= 1
            self._lane.running += 1

    def leave(self) -> None:
        """Give it back for good: the request is over, or goes on at its reader's pace."""
        if self._left:
            return
        self._left = True
        if self._outside:
            self._lanes.outside -= 1
            self._lanes.serve()
        else:
            self._lanes.leave(self._lane)
