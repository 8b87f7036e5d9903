"""What must be looked at again after a batch of changes of the host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from attrs import define, field

from xdpflannel.host.values import NeighbourState
from xdpflannel.host.watch import (
    AddressChanged,
    HostChange,
    HostResync,
    LinkChanged,
    NeighbourChanged,
    RouteChanged,
)
from xdpflannel.model.net import Mac

_UNUSABLE = NeighbourState.FAILED | NeighbourState.INCOMPLETE


@define
class Look:
    """Collects; empty at first.

    ``macs``: next hops whose MAC is known now (None: no longer). ``wiped``: flannel.N lost its routes without
    a word about each. ``on_device``: what happened to single routes and neighbours there, by us or by others.
    """

    uplink_name: str
    uplink: int
    device: int
    bridge_name: str
    bridge: int
    ports: Collection[int]
    check_uplink: bool = False
    check_device: bool = False
    check_hops: bool = False
    check_pods: bool = False
    macs: dict[tuple[int, IPv4Address], Mac | None] = field(factory=dict)
    gone: list[int] = field(factory=list)
    wiped: bool = False
    on_device: list[RouteChanged | NeighbourChanged] = field(factory=list)

    def everything(self) -> None:
        """Look at all."""
        self.check_uplink = self.check_device = self.check_hops = self.check_pods = True

    def take(self, changes: Iterable[HostChange]) -> None:
        """Note what each change touches."""
        for change in changes:
            match change:
                case HostResync():
                    self.everything()
                case NeighbourChanged():
                    self._neighbour(change)
                case LinkChanged():
                    self._link(change)
                case RouteChanged():
                    # Routes on flannel.N and to local pods are not on the way to any VTEP.
                    self.check_hops |= change.ifindex not in (self.device, self.bridge)
                    if change.ifindex == self.device:
                        self.on_device.append(change)
                case AddressChanged():
                    self.check_uplink |= change.ifindex == self.uplink
                    self.check_device |= change.ifindex == self.device
                    # With its last address an interface loses its routes: fib_disable_ip().
                    self.wiped |= change.ifindex == self.device and change.removed

    def _neighbour(self, change: NeighbourChanged) -> None:
        if change.ifindex == self.device:
            self.on_device.append(change)
        elif change.bridge or change.ifindex == self.bridge:
            self.check_pods |= change.ifindex in self.ports or change.ifindex == self.bridge
        elif change.ip is not None:
            lost = change.removed or change.state & _UNUSABLE or change.mac is None
            self.macs[change.ifindex, change.ip] = None if lost else change.mac

    def _link(self, change: LinkChanged) -> None:
        self.check_uplink |= change.ifindex == self.uplink or change.name == self.uplink_name
        self.check_device |= change.ifindex == self.device
        self.wiped |= change.ifindex == self.device and not change.up
        touched = change.name == self.bridge_name or change.ifindex in self.ports
        self.check_pods |= touched or (self.bridge != 0 and change.master == self.bridge)
        if change.removed:
            self.gone.append(change.ifindex)
