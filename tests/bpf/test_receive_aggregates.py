"""What the kernel's GRO made of a peer's segments, through an attached uplink_ingress, into a pod.

The uplink is a TAP with NAPI, so that GRO runs as it does for a NIC; the pod is a namespace behind a veth
pair, and a packet socket in it says what the skb looked like when it came in.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import evolve, frozen
from packets import world
from packets.build import delivered, inbound, pseudo_sum, tcp, tunnelled
from packets.netns import GSO_NONE, GSO_TCP4, Namespace, Offloaded, Tap
from scapy.layers.inet import TCP
from scapy.packet import Raw

from xdpflannel.table.reference import State

_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETH_P_IP = 0x0800
_SEGMENT = 1000
_COUNT = 20


@frozen
class Host:
    """An uplink with a VXLAN socket behind it, and a pod."""

    uplink: Tap
    pod: socket.socket
    state: State


def open_pod_socket() -> socket.socket:
    pod = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
    pod.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    pod.bind(("eth0", _ETH_P_IP))
    pod.setblocking(False)
    return pod


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[Host, Namespace]]:
    with ExitStack() as stack:
        node, inside = Namespace(f"rz-gro-{os.getpid()}"), Namespace(f"rz-gro-pod-{os.getpid()}")
        stack.callback(node.close)
        stack.callback(inside.close)
        uplink = Tap(node, "up0", napi=True)
        node.run("ip", "link", "set", "up0", "address", str(world.UPLINK_MAC))
        stack.callback(uplink.close)
        # Segments wait for each other as long as this, in ns, instead of being flushed after every poll.
        device = "/sys/class/net/up0"
        flush = f"echo 1 > {device}/napi_defer_hard_irqs; echo 20000000 > {device}/gro_flush_timeout"
        Namespace.run_outside("ip", "netns", "exec", node.name, "sh", "-c", flush)
        # GRO looks into UDP only where a socket of a tunnel listens.
        vxlan = "ip link add vx0 type vxlan id 1 dstport 8472 dev up0 nolearning"
        node.run(*vxlan.split())
        node.run("ip", "link", "set", "vx0", "up")
        veth = f"ip link add pod0 type veth peer name eth0 netns {inside.name}"
        node.run(*veth.split())
        node.run("ip", "link", "set", "pod0", "up")
        inside.run("ip", "link", "set", "eth0", "address", str(world.POD.mac), "up")
        pod = inside.inside(open_pod_socket)
        stack.callback(pod.close)
        state = evolve(
            world.WORLD,
            pods={world.POD_IP: evolve(world.POD, ifindex=node.index("pod0"))},
        )
        yield Host(uplink, pod, state), node


@pytest.fixture
def attached(host, plane) -> Iterator[Host]:
    """The node, with the program of one loader on its uplink."""
    made, namespace = host
    plane.become(made.state)
    program = plane.programs["uplink_ingress"]
    with namespace.tc_ingress(program, made.uplink.ifindex):
        yield made


def segment(number, size=_SEGMENT):
    packet = inbound(tcp(40 + size), flags="DF")
    packet.id = 100 + number
    packet[TCP].seq = 1 + number * _SEGMENT
    return packet


def received(pod, payload_bytes, deadline_s=5.0):
    """Frames that came into the pod, until they hold so many bytes of payload."""
    found = []
    end = time.monotonic() + deadline_s
    while sum(len(frame.frame) - 54 for frame in found) < payload_bytes and time.monotonic() < end:
        try:
            found.append(Offloaded.read(pod.recv(1 << 17)))
        except BlockingIOError:
            continue
    return found


def merged(first, count):
    """What the pod must see of ``count`` segments from number ``first`` on."""
    packet = segment(first)
    packet.ttl -= 1
    packet[Raw].load = b"".join(bytes(segment(first + number)[Raw]) for number in range(count))
    if count > 1:
        packet[TCP].chksum = pseudo_sum(packet)
    return delivered(packet)


def burst(host, frames):
    """Send segments as a peer sends them, and return how many went into each frame that the pod got."""
    for frame in frames:
        host.uplink.send(frame)
    counts = []
    for frame in received(host.pod, _COUNT * _SEGMENT):
        count = (len(frame.frame) - 54) // _SEGMENT
        assert frame.frame == merged(sum(counts), count)
        assert (frame.gso_type, frame.gso_size) == ((GSO_TCP4, _SEGMENT) if count > 1 else (GSO_NONE, 0))
        assert frame.checksum_at == ((34, 16) if count > 1 else None)
        counts.append(count)
    assert sum(counts) == _COUNT
    return counts


def test_merged_segments_stay_merged(attached):
    frames = [Offloaded(tunnelled(segment(number), outer={"id": 500 + number})) for number in range(_COUNT)]
    # A burst that the kernel's timer cuts in two is right too; one of a few will be merged as a whole.
    assert any(burst(attached, frames) == [_COUNT] for _ in range(20))
