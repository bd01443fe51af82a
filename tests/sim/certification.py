"""The fixture of AuthZEN's public certification scenario as a gate: its rules as a bundle, its records as inventory.

https://github.com/openid/authzen, certification/authorization-api-1_0-scenario.md.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.sim.policies import folder_of
from tests.sim.world import World, world

_HERE = "{environments: [staging], resource_types: [record]}"
_WORDS = """subjects:
  user: {kind: human, prefix: "dev:", roles: role}
resources:
  record: {env: staging, labels: [status]}
actions:
  read: {record: records.record.read}
  write: {record: records.record.write}
  delete: {record: records.record.delete}
"""
_MANIFEST = """schema: broker.manifest/v1
connector: records
adapter: http
actions:
""" + "".join(
    f"""  records.record.{verb}:
    title: {verb} a record
    effect: {effect}
    reversibility: reversible
    idempotent: true
    resource_types: [record]
    arguments: {arguments}
    transport: {{method: {method}, path: "/records/{{resource.id}}"}}
"""
    for verb, effect, method, arguments in (
        ("read", "read", "GET", "{}"),
        ("write", "write", "PUT", "{}"),
        ("delete", "write", "DELETE", "{soft: {type: boolean, default: false}}"),
    )
)
_RULES = """package broker.denylist

# METADATA
# title: Only an administrator writes to what is archived, and to nothing else without being an editor
# custom:
#   reason: denylist.record
deny contains {"code": "denylist.record", "params": {"status": input.resource.labels.status}} if {
	input.action.name == "records.record.write"
	not fitting
}

deny contains {"code": "denylist.record", "params": {"status": "kept"}} if {
	input.action.name == "records.record.delete"
	not input.action.properties.arguments.soft
}

# METADATA
# title: Somebody with one of the roles
held contains role if {
	some party in input.subject.parties
	some role in party.roles
}

# METADATA
# title: The role fits the record's status
# scope: document
fitting if {
	input.resource.labels.status == "archived"
	count(held & {"admin", "auditor"}) > 0
}

fitting if {
	input.resource.labels.status != "archived"
	"oncall" in held
}
"""
_GRANTS = "".join(f"  records.record.{verb}: {_HERE}\n" for verb in ("read", "write", "delete"))
FIXTURE: Mapping[str, tuple[str, str]] = {
    "manifests/records.yaml": ("", _MANIFEST),
    "broker/denylist/records.rego": ("", _RULES),
    "config/reasons/data.yaml": (
        "",
        "denylist.record: {title: The record's status forbids it, remedy: Ask its owner}\n",
    ),
    "config/roles/data.yaml": ("", "admin: {title: Administers records, holders: [human]}\n"),
    "config/grants/data.yaml": ("\noncall:\n", f"\nadmin:\n{_GRANTS}oncall:\n{_GRANTS}"),
}
"""Alice is an editor (role `oncall` of the test's provider), Bob an administrator (`auditor`)."""
INVENTORY = "".join(
    f'[[inventory]]\ntype = "record"\nid = "{id_}"\nenv = "staging"\nregion = "eu-west-1"\nlabels = {{status = "{status}"}}\n'
    for id_, status in (("record-1", "active"), ("record-2", "archived"))
)


@asynccontextmanager
async def certification(folder: Path) -> AsyncIterator[tuple[World, dict[str, str]]]:
    """A gate with the scenario's policy that Alice and Bob have been to, and the enforcement point's headers."""
    policies = folder_of(folder / "policies", FIXTURE)
    words = policies / "config" / "authzen" / "data.yaml"
    words.write_text(_WORDS)
    grants = policies / "config" / "grants" / "data.yaml"
    grants.write_text(grants.read_text().replace("\nauditor:\n", f"\nauditor:\n{_GRANTS}", 1))
    async with world(folder, policies=policies, extra=INVENTORY) as it:
        for name in ("alice", "bob"):
            assert (await it.client.get("/v1/actions", headers=await it.person(name))).status_code == 200
        yield it, await it.person("security")
