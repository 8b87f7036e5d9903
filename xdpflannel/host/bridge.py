"""The CNI bridge: its ports and which MAC is behind which."""

from __future__ import annotations

from attrs import frozen

from xdpflannel.host.features import NDO_XMIT
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import NTF_SELF, NeighbourState
from xdpflannel.model.net import Mac


@frozen
class BridgePort:
    """A veth that is a port of the bridge: the node's end of a pod's pair."""

    ifindex: int
    name: str
    mac: Mac
    mtu: int
    """Of the port or of the bridge, whichever is smaller: what is routed to the pod passes both."""
    napi: bool
    """XDP may redirect into it, because the pod's end has NAPI (GRO on, or an XDP program)."""


@frozen
class Bridge:
    """The bridge at one moment. ``stations``: on which port each learned MAC is."""

    ifindex: int
    mac: Mac
    ports: dict[int, BridgePort]
    stations: dict[Mac, int]


def read_bridge(netlink: Netlink, name: str) -> Bridge | None:
    """The bridge of that name; None if there is none (before the first pod, there is none)."""
    link = netlink.link(name)
    if link is None or link.kind != "bridge" or link.mac is None:
        return None
    features = netlink.all_xdp_features()
    ports = {
        port.ifindex: BridgePort(
            port.ifindex,
            port.name,
            port.mac,
            min(port.mtu, link.mtu),
            bool(features.get(port.ifindex, 0) & NDO_XMIT),
        )
        for port in netlink.links(master=link.ifindex)
        if port.kind == "veth" and port.mac is not None
    }
    stations = {
        entry.mac: entry.ifindex
        for entry in netlink.bridge_forwarding(link.ifindex)
        # Permanent ones are the port's own address, NTF_SELF ones are the device's receive filter.
        if entry.ifindex in ports and entry.state != NeighbourState.PERMANENT and not entry.flags & NTF_SELF
    }
    return Bridge(link.ifindex, link.mac, ports, stations)
