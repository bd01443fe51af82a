"""What people read out of the log: live, by search, with proofs, as exports. The log alone is the source."""

from broker.logbook.acts import LogActs, filter_of
from broker.logbook.exports import Exports
from broker.logbook.feed import Feed, Filter, Follower
from broker.logbook.index import LogIndex
from broker.logbook.lines import Line, Lines, shown
from broker.logbook.names import Names

__all__ = [
    "Exports",
    "Feed",
    "Filter",
    "Follower",
    "Line",
    "Lines",
    "LogActs",
    "LogIndex",
    "Names",
    "filter_of",
    "shown",
]
