"""Strings: nav."""


class Nav:
    """Of the navigation."""

    inbox = "Inbox"
    live = "Live"
    incidents = "Incidents"
    agents = "Agents"
    keys = "Security keys"
    audit = "Audit"
    policies = "Policies"
    simulate = "Simulate"
    usage = "Usage"
    redaction = "Redaction lab"
    exports = "Exports"
    health = "Health and settings"
