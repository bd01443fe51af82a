"""What this agent can ask for, declared once for its own code and for the model's tools."""

from wicketgate import Arguments, governed


@governed("local.metrics.query", resource="process:{service}@prod")
async def read_metric(service: str, metric: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Read one metric of a service as it stands now."""
    return {"metric": metric}


@governed("local.logs.search", resource="process:{service}@prod")
async def search_logs(service: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Read the newest lines of a service's log, ten minutes back at most."""
    return {"window_seconds": 600, "lines_max": 40}


@governed("local.logs.search", resource="process:{service}@prod")
async def search_error_logs(service: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Read the newest lines at level error of a service's log, ten minutes back at most."""
    return {"window_seconds": 600, "lines_max": 20, "pattern": r"level\W{1,4}error", "mode": "re2"}


@governed("local.logs.search", resource="process:{service}@prod")
async def search_all_logs(service: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Read a week of a service's log, every line: more than policy lets through."""
    return {"window_seconds": 604_800, "lines_max": 1000}


@governed("local.config.read", resource="config:{name}@prod")
async def read_config(name: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Read a file of settings."""
    return {}


@governed("local.process.status", resource="process:{service}@prod")
async def status(service: str) -> Arguments:  # noqa: ARG001 - named in the resource
    """Look whether a service runs."""
    return {}


@governed("local.process.restart", resource="process:{service}@prod")
async def restart(service: str, reason: str) -> Arguments:  # noqa: ARG001 - named in the resource; the reason is the request's
    """Restart a service in production. A person has to approve it first; give the reason in one sentence."""
    return {}
