"""The kinds of fault that have a name here: one table for the rules, the manifests' ``remedy.faults`` and the demo.

A fault that stands nowhere here is unknown: the rules abstain from it, and no remedy fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """``family`` groups kinds of which one can look like the other, or bring the other about."""

    title: str
    family: str


FAULTS: Mapping[str, Fault] = {
    # what was changed
    "bad-config": Fault("a changed configuration value broke the component", "change"),
    "bad-deploy": Fault("a newly deployed version broke the component", "change"),
    "missing-config": Fault("a setting, variable, secret or config map is missing", "change"),
    "bad-command": Fault("the program's command or script is wrong", "change"),
    "image-unavailable": Fault("the container image cannot be pulled", "change"),
    # what runs
    "crash-loop": Fault("the process ends again and again by itself", "process"),
    "probe-failing": Fault("the health check of the process fails", "process"),
    "lock-hang": Fault("a lock is held and not given back", "process"),
    "pool-leak": Fault("connections of a pool are not given back", "process"),
    "bad-cache": Fault("a cache of the running process holds wrong or missing entries", "process"),
    # what is needed
    "dependency-down": Fault("something that the component needs does not answer", "dependency"),
    "dns-failure": Fault("a name cannot be resolved", "dependency"),
    "certificate-expired": Fault("a certificate is past its date", "dependency"),
    "access-denied": Fault("a credential or permission is refused", "dependency"),
    "network-policy": Fault("a network rule blocks traffic", "dependency"),
    # what runs out
    "memory-exhausted": Fault("memory ran out", "memory"),
    "cpu-saturated": Fault("the processor is saturated", "cpu"),
    "cpu-throttled": Fault("the processor limit throttles the process", "cpu"),
    "disk-full": Fault("storage space ran out", "storage"),
    "io-saturated": Fault("the disk's throughput is saturated", "storage"),
    "connections-exhausted": Fault("the server's connections ran out", "connections"),
    "node-pressure": Fault("a machine runs more than it can hold", "node"),
    "unschedulable": Fault("no machine fits what the workload asks for", "node"),
    "volume-unavailable": Fault("a volume cannot be bound or mounted", "storage"),
    # what is slow
    "slow-query": Fault("a query is slow", "database"),
    "replication-lag": Fault("a replica falls behind its primary", "database"),
    "failover": Fault("the primary changed over", "database"),
    "maintenance-load": Fault("background maintenance takes the resources", "database"),
}


def family(fault: str) -> str:
    """The family of ``fault``; an unknown kind is a family of its own."""
    known = FAULTS.get(fault)
    return known.family if known else fault
