"""``wicketgate policy``: check, test and build a folder; activate, roll back and simulate at the gate."""

import asyncio
import getpass
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli import local, places
from broker.cli.caller import Caller, as_client, columns, json_option, read_arguments
from broker.cli.exits import ERROR, WAITING
from broker.cli.pins import pin

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def policy() -> None:
    """The policy repository and the policy in force."""


policy.add_command(pin)


def _opa(given: str | None) -> str | None:
    return given or shutil.which("opa")


@policy.command()
@click.argument("folder", type=_FOLDER, default=places.policies)
@click.option("--opa", help="The opa program; default: the one on the PATH, if any.")
@json_option
def check(folder: Path, opa: str | None, as_json: bool) -> None:
    """Lint FOLDER: schemas, the portable subset of Rego, and opa check --strict where opa is installed."""
    from broker.policy import folder as checked

    program = _opa(opa)
    findings = asyncio.run(checked.check(folder, program))
    if as_json:
        click.echo(json.dumps({"ok": not findings, "findings": findings, "opa": bool(program)}))
    else:
        click.echo("\n".join([*findings, f"{len(findings)} findings{'' if program else ' (opa is not installed)'}"]))
    _end_with(ERROR if findings else 0)


@policy.command("test")
@click.argument("folder", type=_FOLDER, default=places.policies)
@click.option("--opa", help="The opa program; default: the one on the PATH, if any.")
@json_option
def test_folder(folder: Path, opa: str | None, as_json: bool) -> None:
    """Every golden decision on the embedded engine, and opa test where opa is installed."""
    from broker.policy import folder as checked

    report = asyncio.run(checked.test(folder, _opa(opa)))
    failed = list(report.failures)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "goldens": report.goldens, "failures": failed, "opa": report.opa_ran}))
    else:
        ran = "opa test ran" if report.opa_ran else "opa is not installed"
        click.echo("\n".join([*failed, f"{report.goldens} golden decisions, {len(failed)} failures ({ran})"]))
    _end_with(ERROR if failed else 0)


@policy.command()
@click.argument("folder", type=_FOLDER, default=places.policies)
@click.option("--key", type=_FILE, required=True, help="The signer's Ed25519 private key (PKCS #8 PEM).")
@click.option("--key-id", help="Its name in policy.signers; default: the file's name without its ending.")
@click.option("--out", type=_FILE, required=True, help="The bundle; its signature goes to OUT.sig.")
@click.option("--revision", required=True, help="A number, or a number and a text: newer ones are larger.")
@json_option
def build(folder: Path, key: Path, key_id: str | None, out: Path, revision: str, as_json: bool) -> None:  # noqa: PLR0913, PLR0917 - one argument an option
    """Sign FOLDER into a bundle, wherever the private key is kept."""
    from broker.policy import folder as built
    from broker.policy.keys import read_private

    signer = read_private(key, key_id or key.stem)
    bundle = built.build(folder, signer, revision, out)
    halves = {"public_key": signer.public_pem(), "opa_public_key": signer.opa_public_pem()}
    paths = dict(zip(halves, (out.with_name(f"{signer.id}.pub"), out.with_name(f"{signer.id}.opa.pub")), strict=True))
    for name, pem in halves.items():
        paths[name].write_text(pem, encoding="ascii")
    shown = {"digest": bundle.digest, "revision": bundle.revision, "bundle": str(out), "signature": f"{out}.sig"}
    lines = [
        f"{bundle.digest}  revision {bundle.revision}  {out}",
        f"public key for policy.signers: {paths['public_key']}",
        f"public key for OPA (ES256):    {paths['opa_public_key']}",
    ]
    click.echo(json.dumps(shown | {name: str(path) for name, path in paths.items()}) if as_json else "\n".join(lines))


@policy.command()
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--signature", type=_FILE, help="Its detached signature; default: BUNDLE.sig.")
@click.option("--reason", default="")
@click.option("--idempotency-key", "again", default="")
@as_client
def activate(caller: Caller, bundle: Path, signature: Path | None, reason: str, again: str) -> None:
    """Send a signed bundle to the gate and propose to put it into force."""
    signed = (signature or bundle.with_name(bundle.name + ".sig")).read_text(encoding="utf-8").strip()
    archive = bundle.read_bytes()
    _changed(caller, caller.run(lambda gate: gate.policies.activate(archive, signed, reason=reason, key=again)))


@policy.command()
@click.argument("digest", required=False)
@click.option("--offline", metavar="DIGEST", help="On the host itself, without asking the policy: undoes a lockout.")
@click.option("--config", type=_FILE, envvar="WICKETGATE_CONFIG", help="With --offline: the gate's configuration.")
@click.option("--reason", default="")
@click.option("--idempotency-key", "again", default="")
@as_client
def rollback(  # noqa: PLR0913, PLR0917 - one argument an option
    caller: Caller, digest: str | None, offline: str | None, config: Path | None, reason: str, again: str
) -> None:
    """Go back to a formerly active bundle (wicketgate policy history lists them)."""
    if bool(digest) == bool(offline):
        raise click.UsageError("give DIGEST, or --offline DIGEST")
    if offline:
        done = asyncio.run(local.rollback(local.settings(config, caller.data), offline, by=f"host:{getpass.getuser()}"))
        caller.show(done, f"revision {done['revision']} is in force from the gate's next look; recorded first")
        return
    chosen = str(digest)
    _changed(caller, caller.run(lambda gate: gate.policies.rollback(chosen, reason=reason, key=again)))


def _changed(caller: Caller, answer: "Mapping[str, Any]") -> None:
    """A change of policy is an action: done, or waiting for a second person."""
    if answer.get("status") == "waiting":
        waits = answer["approval"]["id"]
        caller.show(answer, f"waits for approval {waits}: wicketgate approvals approve {waits}")
        _end_with(WAITING)
    caller.show(answer, f"in force: {answer.get('digest')} (revision {answer.get('revision')})")


@policy.command()
@as_client
def history(caller: Caller) -> None:
    """The policy in force and what was in force before."""
    found = caller.run(lambda gate: gate.policies.read())
    active = found["active"] or {}
    rows = columns(found["history"], ("seq", "kind", "revision", "digest", "by", "at"))
    caller.show(found, [*rows, f"in force: {active.get('digest', '-')} on {found['engine'] or 'no engine'}"])


@policy.command()
@click.option("--input", "file", type=click.File("rb"), help="A whole policy input (broker.input/v1); - reads stdin.")
@click.option("--action", help="Instead of --input: an action that you would ask for.")
@click.option("--type", "kind", default="process", show_default=True)
@click.option("--id", "name", default="")
@click.option("--env", default="prod", show_default=True)
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE")
@click.option("--reason", default="")
@click.option("--digest", default="", help="Another bundle than the active one, as the gate keeps it.")
@click.option("--folder", type=_FOLDER, help="With --input: decide with this folder, here, without a gate.")
@click.option("--rules", is_flag=True, help="Show every rule that held, too.")
@as_client
def simulate(  # noqa: PLR0913, PLR0917 - one argument an option
    caller: Caller,
    file: Any,
    action: str | None,
    kind: str,
    name: str,
    env: str,
    arguments: tuple[str, ...],
    reason: str,
    digest: str,
    folder: Path | None,
    rules: bool,
) -> None:
    """What policy would decide, and the rules that say so; nothing is executed."""
    if (file is None) == (action is None):
        raise click.UsageError("give --input FILE or --action ACTION")
    asked: dict[str, Any] = {"digest": digest} if digest else {}
    if file is not None:
        asked["input"] = _object(file.read())
    else:
        if not name:
            raise click.UsageError("--action needs --id")
        asked |= {
            "action": action,
            "resource": {"type": kind, "id": name, "env": env},
            "arguments": read_arguments(arguments),
            "reason": reason,
        }
    if folder is not None and file is None:
        raise click.UsageError("--folder goes with --input: only the gate knows who would ask")
    answer: Mapping[str, Any] = (
        asyncio.run(local.simulate(folder, asked["input"]))
        if folder is not None
        else caller.run(lambda gate: gate.policies.simulate(asked))
    )
    decision = answer["decision"]
    lines = [
        f"{decision['effect']}, tier {decision['tier']}",
        f"obligations: {', '.join(decision['obligations']) or '-'}",
    ]
    lines += [f"  {reason['code']}  {reason['remedy']}".rstrip() for reason in decision["reasons"]]
    if rules:
        lines += [f"  {rule['rule']}  {rule['title']} ({rule['file']}:{rule['line']})" for rule in answer["rules"]]
    caller.show(answer, lines)


def _object(content: bytes) -> Any:
    """A policy input as strictly read as a request."""
    from broker.strictjson import read_object

    return read_object(content)


def _end_with(code: int) -> None:
    click.get_current_context().exit(code)
