"""`lab up|exec|down|status`: a cluster in network namespaces of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from xdpflannel.cli.logs import quiet_logs
from xdpflannel.cli.render import emit, facts, output_option, table
from xdpflannel.errors import EXIT_DEGRADED, EXIT_OK, ConfigError, XdpflannelError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from xdpflannel.lab import Lab, LabStatus

SCHEMA = 1

name_option = click.option("--name", default="lab", show_default=True, metavar="NAME", help="Which lab.")


@click.group()
def lab() -> None:
    """Play with a cluster of network namespaces on this machine.

    Each node is a namespace with its own daemon, uplink eth0, bridge cni0 and flannel.1; each pod is one
    too. They share a real etcd. Names are NAME-node1, NAME-node1-pod1 and so on. What a lab did not make it
    never touches.

    \b
    xdpflannel lab up --name try --nodes 3 --pods 2
    xdpflannel lab exec --name try node1-pod1 ping -c3 10.244.7.2
    xdpflannel lab exec --name try node1 xdpflannel counters
    xdpflannel lab down --name try
    """  # noqa: D301
    quiet_logs()


@lab.command()
@name_option
@click.option("--nodes", type=int, default=2, show_default=True, help="How many nodes.")
@click.option("--pods", type=int, default=1, show_default=True, help="How many pods on each.")
@click.option(
    "--datapath", type=click.Choice(("auto", "xdp", "tc", "kernel")), default="auto", show_default=True
)
@click.option("--bypass", type=click.Choice(("proof", "stateless")), help="Default: the daemon's own.")
@click.option("--role", type=click.Choice(("full", "accelerate")), default="full", show_default=True)
@click.option("--loader", type=click.Choice(("auto", "bcc", "libbpf")), default="auto", show_default=True)
@click.option(
    "--kernel-nodes", metavar="2,3", default="", help="Nodes without fast path: plain kernel VXLAN."
)
@click.option("--strict", is_flag=True, help="Drop frames of strangers.")
@click.option("--mtu", type=int, default=1500, show_default=True, help="MTU of the underlay.")
@click.option("--network", default="10.244.0.0/16", show_default=True, help="The overlay's network.")
@click.argument("daemon_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- DAEMON FLAGS]")
@output_option
def up(output: str, kernel_nodes: str, network: str, **flags: Any) -> int:
    """Build a lab; returns when every node is ready, and leaves nothing if that fails.

    What follows -- goes to every node's xdpflanneld.

    \b
    xdpflannel lab up --nodes 3 --pods 2 --kernel-nodes 3     a mixed cluster
    xdpflannel lab up --name one -o json -- --log-level debug
    """  # noqa: D301
    from xdpflannel import lab as labs  # noqa: PLC0415

    with _usage():
        values = {key: value for key, value in flags.items() if value is not None}
        values |= {"kernel_nodes": _numbers(kernel_nodes), "network": _network(network)}
        spec = labs.LabSpec(**values)
    with _progress() as say:
        built = labs.up(spec, progress=say)
    emit(output, {"schema": SCHEMA, **built.to_json()}, lambda: _lab_tables(built))
    return EXIT_OK


@lab.command()
@name_option
def down(name: str) -> int:
    """Remove a lab and everything it made, also after a crash."""
    from xdpflannel import lab as labs  # noqa: PLC0415

    labs.down(name)
    return EXIT_OK


@lab.command()
@name_option
@output_option
def status(name: str, output: str) -> int:
    """Show a lab's nodes and pods; exit status 3 if not all of it is well."""
    from xdpflannel import lab as labs  # noqa: PLC0415

    found = labs.status(name)
    emit(output, _status_document(found), lambda: _status_tables(found))
    return EXIT_OK if found.healthy else EXIT_DEGRADED


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("place")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def execute(name: str, place: str, words: tuple[str, ...]) -> NoReturn:
    """Run COMMAND in a node (node1), a pod (node1-pod2) or the network between them (net).

    In a node, xdpflannel asks that node's agent. The exit status is the command's.

    \b
    xdpflannel lab exec node1 xdpflannel status
    xdpflannel lab exec node2-pod1 iperf3 -s
    """  # noqa: D301
    from xdpflannel import lab as labs  # noqa: PLC0415

    line = labs.command(name, place, words)
    own_commands = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{own_commands}:{os.environ.get('PATH', os.defpath)}",
        "XDPFLANNEL_INSTANCE": f"{name}-{place.removeprefix(f'{name}-')}",
    }
    try:
        os.execvpe(line[0], line, environment)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        raise XdpflannelError(
            f"cannot run {line[0]}: {error.strerror}", hint="apt install util-linux"
        ) from error


@contextmanager
def _usage() -> Iterator[None]:
    """Turn what a LabSpec cannot be into a usage error."""
    try:
        yield
    except ConfigError as error:
        raise click.UsageError(f"{error}\n  {error.hint}" if error.hint else str(error)) from error


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"--kernel-nodes {text!r} is no list of numbers", hint="for example 2,3") from error


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise ConfigError(f"--network {text!r} is no IPv4 network: {error}") from error


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Say each step on stderr: a spinner on a terminal, lines else."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda step: click.echo(f"lab: {step}", err=True)
        return
    with console.status("building the lab") as shown:
        yield shown.update


def _lab_tables(built: Lab) -> Iterator[RenderableType]:
    yield facts([("lab", built.name), ("etcd", built.etcd)])
    yield ""
    yield table(
        ("node", "forwards by", "underlay", "subnet", "pods"),
        [
            (
                node.name,
                node.kind.value,
                node.underlay_ip,
                node.subnet,
                " ".join(str(pod.ip) for pod in node.pods),
            )
            for node in built.nodes
        ],
    )


def _status_document(found: LabStatus) -> dict[str, Any]:
    document = found.lab.to_json()
    for shown, node in zip(document["nodes"], found.nodes, strict=True):
        shown |= {"pid": node.pid, "ready": node.ready}
    return {
        "schema": SCHEMA,
        **document,
        "etcd_running": found.etcd_running,
        "missing": list(found.missing),
        "healthy": found.healthy,
    }


def _status_tables(found: LabStatus) -> Iterator[RenderableType]:
    etcd = found.lab.etcd if found.etcd_running else f"{found.lab.etcd} (does not run)"
    rows: list[tuple[str, object]] = [("lab", found.lab.name), ("healthy", found.healthy), ("etcd", etcd)]
    if found.missing:
        rows.append(("missing", f"namespaces {' '.join(found.missing)}"))
    yield facts(rows)
    yield ""
    yield table(
        ("node", "ready", "pid", "datapath", "underlay", "subnet", "pods"),
        [
            (
                it.node.name,
                it.ready,
                it.pid,
                " ".join(it.agent.datapath) or "kernel" if it.agent else None,
                it.node.underlay_ip,
                it.node.subnet,
                " ".join(str(pod.ip) for pod in it.node.pods),
            )
            for it in found.nodes
        ],
    )
