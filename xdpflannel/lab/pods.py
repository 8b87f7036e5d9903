"""Pods as the CNI plugins would make them: a namespace, a veth to cni0, an address of the node's subnet."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from xdpflannel.errors import LabError
from xdpflannel.host.device import random_mac
from xdpflannel.host.namespace import call_inside
from xdpflannel.lab import namespaces
from xdpflannel.lab.nodes import BRIDGE
from xdpflannel.lab.offload import set_offloads
from xdpflannel.lab.shell import ip
from xdpflannel.lab.state import LabState, NodeRecord, PodRecord

_DISCARD_PORT = 9


def make_bridge(node: NodeRecord, mtu: int) -> None:
    """Make cni0 with the subnet's first address, as the bridge plugin does."""
    subnet = IPv4Network(node.subnet)
    # With a MAC set, as the plugin sets one: else the bridge takes over the lowest of its ports'.
    ip(
        [
            f"link add {BRIDGE} mtu {mtu} address {random_mac()} type bridge",
            f"addr add {subnet[1]}/{subnet.prefixlen} dev {BRIDGE}",
            f"link set {BRIDGE} up",
        ],
        netns=node.netns,
    )


def planned(state: LabState, node: NodeRecord, number: int) -> PodRecord:
    """Record of the pod of that number, from 1; LabError if the subnet has no address for it."""
    subnet = IPv4Network(node.subnet)
    if number + 1 >= subnet.num_addresses - 1:
        raise LabError(
            f"subnet {subnet} of {node.netns} has no address for pod {number}",
            hint="fewer pods, or a larger SubnetLen",
        )
    netns = f"{state.record.name}-node{node.number}-pod{number}"
    return PodRecord(netns, str(subnet[number + 1]))


def wire(node: NodeRecord, pods: Iterable[PodRecord], mtu: int) -> None:
    """Give pods, whose namespaces are there, their interface, address and default route."""
    wanted = list(pods)
    ip((line for pod in wanted for line in _host_end(pod, mtu)), netns=node.netns)
    for pod in wanted:
        ip(_pod_end(node, pod), netns=pod.netns)
        if not node.offload:
            # Frames redirected by XDP keep no note "checksum to be finished", and need NAPI at the far end.
            set_offloads(pod.netns, "eth0", tx=False, gro=True)


def _host_end(pod: PodRecord, mtu: int) -> Iterator[str]:
    veth = veth_name(pod)
    yield f"link add {veth} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {pod.netns}"
    yield f"link set {veth} master {BRIDGE} up"


def _pod_end(node: NodeRecord, pod: PodRecord) -> Iterator[str]:
    subnet = IPv4Network(node.subnet)
    yield f"addr add {pod.ip}/{subnet.prefixlen} dev eth0"
    yield "link set eth0 up"
    yield f"route add default via {subnet[1]}"


def veth_name(pod: PodRecord) -> str:
    """The node's end of a pod's veth pair."""
    return f"veth{pod.netns.rpartition('pod')[2]}"


def announce(node: NodeRecord) -> None:
    """Let each pod send something to its gateway, by which the node learns it."""
    gateway = IPv4Network(node.subnet)[1]
    for pod in node.pods:
        call_inside(pod.netns, lambda: _send(gateway))


def _send(gateway: IPv4Address) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (str(gateway), _DISCARD_PORT))


def add(state: LabState, node: NodeRecord, mtu: int) -> PodRecord:
    """One more pod on a node, with the lowest free number."""
    with state.lock:
        taken = {pod.netns for pod in node.pods}
        number = 1
        while (pod := planned(state, node, number)).netns in taken:
            number += 1
        if pod.netns not in state.record.namespaces:
            namespaces.refuse_existing([pod.netns])
            state.record.namespaces.append(pod.netns)
        state.save()
    namespaces.create(state.record.name, [pod.netns])
    wire(node, [pod], mtu)
    with state.lock:
        node.pods.append(pod)
        state.save()
    call_inside(pod.netns, lambda: _send(IPv4Network(node.subnet)[1]))
    return pod


def remove(state: LabState, node: NodeRecord, netns: str) -> None:
    """Remove a pod with its namespace; LabError if the node has none of that name."""
    pod = next((pod for pod in node.pods if pod.netns == netns), None)
    if pod is None:
        raise LabError(f"{node.netns} has no pod {netns}")
    ip([f"link del {veth_name(pod)}"], netns=node.netns)
    namespaces.remove([netns])
    with state.lock:
        node.pods.remove(pod)
        state.record.namespaces.remove(netns)
        state.save()
