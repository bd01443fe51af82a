"""Commands that are programs of their own: they get the same arguments in a process of their own."""

import os
import signal
import subprocess
import sys

import click

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.command(context_settings=_PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """The main job on this machine alone: a small shop, a fault, and an agent that works through the gate."""
    _start("demo", arguments)


def _start(program: str, arguments: tuple[str, ...]) -> None:
    """Run ``python -m program`` to its end and end as it did; what asks us to end is passed on."""
    with subprocess.Popen([sys.executable, "-m", program, *arguments]) as child:  # noqa: S603 - our own program

        def pass_on(number: int, _: object) -> None:
            child.send_signal(number)

        # A terminal sends its interrupt to both; the child decides what becomes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        code = child.wait()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    click.get_current_context().exit(code)
