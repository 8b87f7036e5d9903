"""A node of the overlay, built by hand and in every byte alike, with or without the fast path.

The addresses are those of `packets.world`, so that its cases and frames fit. What is not said there: pod0's
and the bridge's MTU is 1500, above the overlay's 1450, so that pods can send what is too long for it.

Nothing may happen on its own, or later than at once: neighbours are permanent, or fail without a question;
bridges learn nothing; ICMP is not rate limited; lone fragments stay for hours.
"""

import itertools
import subprocess
import time
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from attrs import evolve, frozen
from differential.ports import Pod, Port, Seen, Wire
from packets import world
from packets.build import framed, ip
from packets.netns import Namespace, Offloaded

from xdpflannel.dataplane import abi, loader, pins, probe
from xdpflannel.dataplane.attach import Attacher, Attachment, Hook
from xdpflannel.dataplane.maps import Tables
from xdpflannel.host.clsact import Clsact
from xdpflannel.model.entries import PodEntry, RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.table.reference import State

WIRE, POD, SIBLING, OLD_SIBLING = "wire", "pod0", "pod1", "pod2"
PROBE = "probe"
"""A pod that no test sends from: its frames mark the end of what came out before."""

GATEWAY_IP = IPv4Address("10.244.1.1")
DEVICE_IP = IPv4Address("10.244.1.0")
PROBE_IP = IPv4Address("10.244.1.250")
ROUTER_IP = IPv4Address("192.0.2.254")
MTU = 1500
"""Of pod0's veth pair and of the bridge."""

_PROBE_MAC = Mac.parse("02:dd:00:00:00:fa")
_MARK = b"\x88\xb5"
"""EtherType for experiments (IEEE 802)."""
_DEADLINE_S = 5.0
_POD_END_MTU = 1600
"""The pods' ends take more than they should ever be given, or a veth would hide it."""
_PODS = {
    POD: (world.POD_IP, evolve(world.POD, mtu=MTU)),
    SIBLING: (world.SIBLING_IP, world.SIBLING),
    OLD_SIBLING: (world.OLD_SIBLING_IP, evolve(world.OLD_SIBLING, mtu=world.MTU)),
}
_TO_BIG_PEER = evolve(world.TO_BIG_PEER, mtu=world.MTU)
_ROUTES = dict(world.WORLD.routes) | {IPv4Network("10.244.5.0/24"): _TO_BIG_PEER}
_UNDERLAY = {
    world.PEER_IP: world.PEER_UPLINK_MAC,
    world.FAR_PEER_IP: world.ROUTER_MAC,
    world.STRANGER_IP: world.OTHER_MAC,
    ROUTER_IP: world.ROUTER_MAC,
}
_TUNNEL = f"id {world.VNI} local {world.OUR_IP} dev up0 dstport {world.PORT} nolearning"
_SYSCTL = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.icmp_ratemask=0",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv4.ipfrag_time=36000",
    *(
        f"net.ipv4.conf.{which}.{what}=0"
        for which in ("all", "default")
        for what in ("rp_filter", "log_martians", "send_redirects")
    ),
)
_DEVICES = ("cni0", "up0", "flannel.1")
_NEIGHBOURS = tuple(
    f"net/ipv4/neigh/{device}/{kind}=0" for device in _DEVICES for kind in ("mcast_solicit", "ucast_solicit")
)


@frozen
class Plane:
    """A fast path to put into a node: which programs where."""

    pods: tuple[tuple[abi.Program, Hook], ...]
    uplink: tuple[tuple[abi.Program, Hook], ...]
    xdp_takes_tcp: bool = True


_TC_POD, _TC_UPLINK = (abi.Program.POD_EGRESS, Hook.TCX), (abi.Program.UPLINK_INGRESS, Hook.TCX)
"""By clsact instead on kernels without tcx."""
_XDP_POD = (abi.Program.XDP_POD, Hook.XDP_NATIVE)
_XDP_UPLINK = (abi.Program.XDP_UPLINK, Hook.XDP_NATIVE)
PLANES = {
    "tc": Plane((_TC_POD,), (_TC_UPLINK,)),
    "xdp": Plane((_XDP_POD,), (_XDP_UPLINK,)),
    "auto": Plane((_TC_POD,), (_XDP_UPLINK, _TC_UPLINK), xdp_takes_tcp=False),
}


class Node:
    """One node with its pods and its wire."""

    def __init__(self, name: str, *, segments: bool = False, merges: bool = False) -> None:
        self.segments = segments
        """Its pods send no aggregates."""
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self.tables: Tables | None = None
        self.state = State(None)
        with ExitStack() as stack:
            self.namespace = Namespace(name)
            stack.callback(self.namespace.close)
            self._inside = Namespace(f"{name}-pods")
            stack.callback(self._inside.close)
            wire = Wire(self.namespace, "up0", merges=merges)
            stack.callback(wire.close)
            self._build()
            self.ports: dict[str, Port] = {WIRE: wire}
            for pod in (*_PODS, PROBE):
                opened = Pod(self._inside, pod)
                stack.callback(opened.close)
                self.ports[pod] = opened
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Remove it."""
        self._stack.close()

    def sysctl(self, *settings: str) -> None:
        """Set some of the kernel's settings in the node."""
        self.namespace.run("sysctl", "-qw", *settings)

    def forget(self, address: IPv4Address, device: str) -> None:
        """Remove a neighbour that the kernel was made to ask for."""
        self.namespace.run("ip", "neigh", "del", str(address), "dev", device)

    def exchange(self, port: str, sent: Offloaded) -> dict[str, list[Seen]]:
        """Send a frame into the node and return all that comes out of it, by port, in order."""
        try:
            self.ports[port].send(sent)
        except OSError as error:
            return {port: [Seen(f"not taken: {error}".encode())]}
        return self.settled()

    def settled(self) -> dict[str, list[Seen]]:
        """Return all that came out. Two frames that the kernel forwards mark its end on every port."""
        number = next(self._numbers).to_bytes(16)
        to_pods = b"\xff" * 6 + _PROBE_MAC.packed + _MARK + number
        to_wire = framed(ip(PROBE_IP, world.WORLD_IP, number), source=_PROBE_MAC)
        self.ports[PROBE].send(Offloaded(to_pods))
        self.ports[PROBE].send(Offloaded(to_wire))
        return {port: self._until(port, number) for port in (WIRE, *_PODS)}

    def _until(self, port: str, number: bytes) -> list[Seen]:
        found: list[Seen] = []
        end = time.monotonic() + _DEADLINE_S
        while time.monotonic() < end:
            found += self.ports[port].pending()
            if found and found[-1].frame.endswith(number):
                return found[:-1]
        raise AssertionError(f"{self.namespace.name}: no mark came out of {port}, but {found}")

    def _build(self) -> None:
        links = [
            f"link set up0 address {world.UPLINK_MAC}",
            f"addr add {world.OUR_IP}/24 dev up0",
            f"route add default via {ROUTER_IP}",
            f"link add cni0 address {world.GATEWAY_MAC} type bridge stp_state 0 mcast_snooping 0",
            # To set what it is would change nothing, and leave the bridge to follow its ports' MTU.
            f"link set cni0 mtu {MTU - 1}",
            f"link set cni0 mtu {MTU} up",
            f"addr add {GATEWAY_IP}/24 dev cni0",
            f"link add flannel.1 address {world.VTEP_MAC} mtu {world.MTU} type vxlan {_TUNNEL}",
            f"addr add {DEVICE_IP}/32 dev flannel.1",
            "link set flannel.1 up",
        ]
        links += [f"neigh add {ip} lladdr {mac} dev up0 nud permanent" for ip, mac in _UNDERLAY.items()]
        stations = []
        pods = [(name, ip, entry) for name, (ip, entry) in _PODS.items()]
        for name, address, pod in (*pods, (PROBE, PROBE_IP, _probe_entry())):
            end = f"name {name} mtu {_POD_END_MTU} address {pod.mac} netns {self._inside.name}"
            links += [
                f"link add {name} mtu {pod.mtu} address {pod.port_mac} type veth peer {end}",
                f"link set {name} master cni0 up",
                f"link set dev {name} type bridge_slave learning off",
                f"neigh add {address} lladdr {pod.mac} dev cni0 nud permanent",
            ]
            stations.append(f"fdb replace {pod.mac} dev {name} master static sticky")
        for network, route in _ROUTES.items():
            links += [
                f"route add {network} via {network.network_address} dev flannel.1 onlink mtu {route.mtu}",
                f"neigh add {network.network_address} lladdr {route.vtep_mac} dev flannel.1 nud permanent",
            ]
            stations.append(f"fdb replace {route.vtep_mac} dev flannel.1 dst {route.vtep_ip} self permanent")
        self.sysctl(*_SYSCTL)
        self._batch("ip", links)
        self._batch("bridge", stations)
        self.sysctl(*_NEIGHBOURS)
        for name, (_, pod) in _PODS.items():
            self._inside.run("ip", "link", "set", name, "up")
            if self.segments:
                self._inside.run(
                    "ethtool", "-K", name, "gso", "off", "tso", "off", "tx-udp-segmentation", "off"
                )
            self._inside.run("ethtool", "-K", name, "gro", "on" if pod.napi else "off")
        self._inside.run("ip", "link", "set", PROBE, "up")

    def _batch(self, tool: str, commands: list[str]) -> None:
        done = subprocess.run(
            ["nsenter", f"--net={self.namespace.path}", tool, "-batch", "-"],
            input="\n".join(commands),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def speed_up(self, plane: Plane, instance: str) -> None:
        """Put the fast path in, with the entries that an agent would derive from what the node is."""
        self.state = self._entries(plane)
        self.segments = _XDP_POD in plane.pods
        folder = pins.pins(instance)
        self._stack.callback(_gone, folder)
        loader.load(folder, loader="libbpf", sizes=loader.MapSizes(routes=64))
        self.tables = self._stack.enter_context(_opened(folder))
        _fill(self.tables, self.state)
        clsact = Clsact(self.namespace.name)
        self._stack.callback(clsact.close)
        attacher = Attacher(folder, clsact)
        wanted = [(self.namespace.index(name), what) for name in _PODS for what in plane.pods]
        wanted += [(self.namespace.index("up0"), what) for what in plane.uplink]
        tc = Hook.TCX if probe.features().tcx else Hook.CLSACT
        for ifindex, (program, hook) in wanted:
            attachment = Attachment(program, ifindex, tc if hook is Hook.TCX else hook)
            self.namespace.inside(lambda attachment=attachment: attacher.attach(attachment))

    def _entries(self, plane: Plane) -> State:
        index = self.namespace.index
        config = evolve(
            world.CONFIG,
            device_ifindex=index("flannel.1"),
            xdp_takes_tcp=plane.xdp_takes_tcp,
            decap_clears_tunnel_gso=probe.features().decap_l4,
        )
        pods = {address: evolve(pod, ifindex=index(name)) for name, (address, pod) in _PODS.items()}
        return State(config, _resolved(index("up0")), pods, world.WORLD.vteps)


def _resolved(uplink: int) -> dict[IPv4Network, RouteEntry]:
    return {
        network: evolve(route, ifindex=uplink if route.next_hop_mac else 0)
        for network, route in _ROUTES.items()
    }


def _probe_entry() -> PodEntry:
    return evolve(world.POD, mac=_PROBE_MAC, port_mac=Mac.parse("02:ee:00:00:00:fa"), mtu=MTU)


def _opened(folder: pins.Pins) -> Tables:
    return Tables.open(folder.base)


def _fill(tables: Tables, state: State) -> None:
    for network, route in state.routes.items():
        tables.put_route(network, route)
    for address, pod in state.pods.items():
        tables.put_pod(address, pod)
    for address, routes in state.vteps.items():
        tables.put_vtep(address, routes)
    if state.config is not None:
        tables.set_config(state.config)


def _gone(folder: pins.Pins) -> None:
    pins.remove_tree(folder.base)
    left: Path = folder.base.parent
    assert not left.exists(), f"{left} was left behind"
