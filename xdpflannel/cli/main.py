"""`xdpflannel`: look at a node, remove what it made, play with a cluster in namespaces."""

from __future__ import annotations

import importlib

import click

from xdpflannel import __version__
from xdpflannel.cli.errors import guarded

PROGRAM = "xdpflannel"

# Imported when used: each brings the libraries that it needs, and no other command waits for them.
COMMANDS = {
    "status": "xdpflannel.cli.status:status",
    "leases": "xdpflannel.cli.status:leases",
    "routes": "xdpflannel.cli.tables:routes",
    "pods": "xdpflannel.cli.tables:pods",
    "flows": "xdpflannel.cli.flows:flows",
    "counters": "xdpflannel.cli.tables:counters",
    "lab": "xdpflannel.cli.lab:lab",
    "config": "xdpflannel.cli.tools:config",
    "uninstall": "xdpflannel.cli.tools:uninstall",
    "completion": "xdpflannel.cli.tools:completion",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used, and in which no error ends as a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; its return value, or the error it ends with, is the exit status."""
        run = super().invoke
        ctx.exit(guarded(PROGRAM, lambda: run(ctx) or 0, verbose=ctx.params["debug"], more="--debug"))


@click.group(
    PROGRAM,
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show where an unexpected error happened.")
@click.version_option(__version__, message="%(version)s")
def command(debug: bool) -> None:
    """Look at a flannel node that forwards by eBPF, and remove it.

    \b
    xdpflannel status                is this node well, what was attached and why
    xdpflannel routes -o json        what the kernel holds, also while no agent runs
    xdpflannel counters              what became of the packets, and the fast path's share
    xdpflannel lab up --name try     a cluster in network namespaces of this machine
    xdpflannel uninstall             remove everything that xdpflanneld made here

    Data goes to stdout, the rest to stderr. Exit status: 0 well, 1 fault, 2 usage, 3 degraded or no agent,
    4 not permitted or not supported.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines


def main() -> None:
    """Entry point of `xdpflannel`."""
    command()
