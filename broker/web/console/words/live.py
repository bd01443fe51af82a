"""Strings: live."""


class Live:
    """Of the page `live`."""

    title = "Live"
    text = "What goes on record, as it goes on record. Nothing is shown that is not in the log."
    pause = "Pause"
    resume = "Go on"
    running = "following"
    paused = "paused"
    nothing = "Nothing yet that fits. New records appear here by themselves; loosen the filters to see more."
    no_script = "Without scripts this page stands still: reload it to see what is new."
    unseen = "{count} records that the search does not have yet are not shown. New ones follow above; Audit will have them all."
    lost = "The connection was lost. The page tries again by itself, and then shows what it missed."
    ended = "The gate ended the stream. It goes on by itself where it may; else reload the page."
