"""The ``wicketgate`` command. Heavy imports stand inside the commands, so that help and small commands stay quick."""

from typing import Any

import click

from broker.cli import exits
from broker.cli.act import act, agents, approvals
from broker.cli.breakglass import breakglass
from broker.cli.caller import JSON_WANTED
from broker.cli.connect import connect
from broker.cli.doctor import doctor
from broker.cli.incidents import incidents
from broker.cli.investigate import investigate
from broker.cli.log import audit
from broker.cli.policy import policy
from broker.cli.programs import demo
from broker.cli.redact import redact
from broker.cli.serve import serve
from broker.cli.setup import configuration, migrate
from broker.cli.tokens import login, token


class Cli(click.Group):
    """The process edge: every refusal becomes two plain lines on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises is told to the person and turned into its exit code."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            failure = exits.read(error)
            if failure is None:
                raise
            failure.tell(as_json=ctx.meta.get(JSON_WANTED, False))
            ctx.exit(failure.code)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="wicketgate")
def main() -> None:
    """Wicketgate: the one gate through which AI agents reach production."""


for command in (
    act,
    agents,
    approvals,
    audit,
    breakglass,
    configuration,
    connect,
    demo,
    doctor,
    investigate,
    incidents,
    login,
    migrate,
    policy,
    redact,
    serve,
    token,
):
    main.add_command(command)
