"""Strings: time boxes, on the pages `approval` and `inbox`."""


class TimeBox:
    """What happens where nobody answers."""

    title = "If nobody answers"
    runs = "Runs by itself"
    expires = "Expires"
    when_runs = "Nobody needs to do anything: it runs by itself unless somebody denies it before."
    when_expires = "It waits for a person until it expires."
    telling = "It may run by itself, but not everybody has been told. Until then it waits for a person."
    unheard = (
        "Everybody was told. It runs by itself at the end only if somebody acknowledges that before: one of {roles}."
    )
    over = "Its time is over; it is being decided whether silence counts."
    counted = "Nobody denied it in time: it was approved by a rule, not by a person."
    void = "Silence does not count for it ({code}). It waits for a person until it expires."
    moot = "A person answered."
    rule = "Rule"
    told = "Everybody told"
    ends = "End of the time box"
    heard = "Acknowledged by"
    acknowledge = "Acknowledge"
    acknowledge_text = "You say that you have seen it. It approves nothing: you, too, may still deny it until it runs."
    acknowledged = "Your acknowledgement is on record."
    acknowledge_done = "You have acknowledged it."
    never = "not yet"
