"""The story that scripts/demo tells, by the same commands that a user types."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen
from demo_traffic import (
    MEASURE,
    DemoError,
    Pod,
    console,
    ping,
    round_trip,
    shell,
    tcp_stream,
    transfer,
    udp_small,
)
from rich.table import Table

from xdpflannel.errors import XdpflannelError
from xdpflannel.model.verdict import VerdictClass

Node = dict[str, Any]
"""As ``lab up -o json`` describes it."""


def chapter(title: str) -> None:
    """Begin a part of the story."""
    console.print()
    console.rule(f"[bold]{title}[/bold]", align="left")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what takes time, and how much it took."""
    began = time.monotonic()
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(f"· {what} …")
        yield
    console.print(f"[green]✓[/green] {what} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def cluster(name: str, nodes: int, pods: int, datapath: str, *, show: bool = True) -> Iterator[list[Node]]:
    """A lab that is gone when the block is left, however that happens."""
    size = ["--nodes", str(nodes), "--pods", str(pods), "--datapath", datapath]
    up = ["xdpflannel", "lab", "up", "--name", name, *size, "-o", "json"]
    try:
        if show:
            console.print(f"\n[dim]$ {shlex.join(up)}[/dim]")
        with doing(f"{nodes} nodes with {pods} pods each, --datapath {datapath}"):
            document = json.loads(shell(up))
        yield document["nodes"]
    finally:
        # A second Ctrl-C must not stop the cleaning up.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            shell(["xdpflannel", "lab", "down", "--name", name])
        except DemoError as error:
            if "there is no lab" not in str(error):  # what is interrupted while building removes itself
                console.print(f"[red]{error}[/red]")
        finally:
            signal.signal(signal.SIGINT, before)


def pod_pairs(nodes: list[Node]) -> list[tuple[Pod, Pod, str]]:
    """Return a pod of each node with a pod of every other node, and what to call the pair."""
    return [
        (one["pods"][0], two["pods"][-1], f"{one['name']} → {two['name']}")
        for one, two in permutations(nodes, 2)
    ]


def counted(nodes: list[Node]) -> tuple[int, int]:
    """Return fast and slow packets of all nodes so far."""
    fast = slow = 0
    for node in nodes:
        raw = shell(
            ["xdpflannel", "counters", "--instance", node["instance"], "-o", "json"], netns=node["netns"]
        )
        for row in json.loads(raw)["counters"]:
            if row["verdict"] == "left_to_gro":
                continue
            fast += row["packets"] * (row["class"] == VerdictClass.FAST)
            slow += row["packets"] * (row["class"] == VerdictClass.SLOW)
    return fast, slow


def everybody_talks(nodes: list[Node]) -> None:
    """Ping and transfer between every two nodes, then say which way the packets went."""
    before = counted(nodes)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("PODS ON", "PING", "TCP"):
        table.add_column(title)
    with doing("every node's pod talks to every other node's pod"):
        for source, target, name in pod_pairs(nodes):
            table.add_row(name, ping(source, target), transfer(source, target))
    console.print(table)
    fast, slow = (now - then for now, then in zip(counted(nodes), before, strict=True))
    share = fast / (fast + slow) if fast + slow else 0.0
    console.print(
        f"\nfast path: [bold]{int(share * 10000) / 100:.2f} %[/bold] of {fast + slow:,} overlay packets"
        f" ({slow:,} left to the kernel's flannel.1)"
    )


def look(node: Node, *commands: str) -> None:
    """Show what a node's commands say."""
    for name in commands:
        shell(["xdpflannel", name, "--instance", node["instance"]], netns=node["netns"], show=True)


def why(node: Node) -> None:
    """Say why this datapath, in the agent's own words."""
    raw = shell(["xdpflannel", "status", "--instance", node["instance"], "-o", "json"], netns=node["netns"])
    state = json.loads(raw)
    console.print(
        f"\n[bold]{state['datapath_wanted']}[/bold] means {', '.join(state['datapath'])} here, because"
    )
    for reason in state["reasons"]:
        console.print(f"  {reason}")


SAMPLES = 3
"""Of each workload on each path, one path after the other. On few CPUs a single one now and then is far off,
when the scheduler puts both ends on different CPUs, whatever the path: the median is shown."""


@frozen
class Workload:
    """What is measured, and in which unit."""

    name: str
    measure: Callable[[Pod, Pod], float]
    unit: str
    more_is_better: bool = True


WORKLOADS = (
    Workload("TCP, one stream", tcp_stream, "Gbit/s"),
    Workload("UDP, 64 bytes", udp_small, "kpps"),
    Workload("UDP, round trip (median)", round_trip, "µs", more_is_better=False),
)


def side_by_side(labs: dict[str, list[Node]]) -> None:
    """Measure each workload on each path in turn, and show the ratios."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("BETWEEN TWO NODES")
    for path in labs:
        table.add_column(path.upper(), justify="right")
    table.add_column("")
    for workload in WORKLOADS:
        samples: dict[str, list[float]] = {path: [] for path in labs}
        with doing(f"{workload.name}: {', '.join(labs)}"):
            for path in [*labs] * SAMPLES:
                nodes = labs[path]
                samples[path].append(workload.measure(nodes[0]["pods"][0], nodes[1]["pods"][0]))
        values = {path: median(found) for path, found in samples.items()}
        table.add_row(workload.name, *_cells(values, workload), workload.unit)
    console.print()
    console.print(table)
    console.print(
        "\n[dim]In brackets: against the kernel's VXLAN, above 1 is better. A short run: the median of"
        f" {SAMPLES} samples of {MEASURE} s, taken in turn, generator and both nodes on the same"
        f" {os.cpu_count()} CPUs. It says which way things go, not how far.[/dim]"
    )


def _cells(values: dict[str, float], workload: Workload) -> Iterator[str]:
    base = values["kernel"]
    for path, value in values.items():
        ratio = value / base if workload.more_is_better else base / value
        yield f"{value:.1f}" if path == "kernel" else f"{value:.1f} ({ratio:.2f}x)"


def tell(name: str) -> None:
    """Tell it from the beginning to the end."""
    with ExitStack() as stack:
        chapter("1. Three nodes, a real etcd, two pods each")
        auto = stack.enter_context(cluster(f"{name}a", 3, 2, "auto"))
        first = auto[0]
        look(first, "leases", "routes", "pods")
        everybody_talks(auto)
        why(first)

        chapter("2. The same by XDP: no skb between pod and wire")
        xdp = stack.enter_context(cluster(f"{name}x", 3, 2, "xdp"))
        everybody_talks(xdp)
        look(xdp[0], "status", "counters")

        chapter("3. Side by side with the kernel's VXLAN")
        kernel = stack.enter_context(cluster(f"{name}k", 3, 2, "kernel"))
        side_by_side({"kernel": kernel, "auto": auto, "xdp": xdp})

        chapter("4. Cleaning up")
    left = [path.name for path in Path("/run/netns").glob(f"{name}*")]
    if left:
        raise DemoError(f"these network namespaces are left: {' '.join(left)}")
    console.print("nothing is left: no namespace, no process, no program")


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--name", default=f"demo{secrets.token_hex(2)}", help="how its namespaces' names begin"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(signal.SIGTERM + 128))
    # A shell without job control starts what it puts into the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        tell(arguments.name)
    except KeyboardInterrupt:
        console.print("\nstopped, and cleaned up")
        return 130
    except (DemoError, XdpflannelError, OSError) as error:
        console.print(f"\n[red]demo: {error}[/red]", markup=True)
        return 1
    console.print(
        f"\n[dim]{time.monotonic() - began:.0f} s. To play: .venv/bin/xdpflannel lab up --name try[/dim]"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
