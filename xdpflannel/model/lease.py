"""A lease: which node owns which subnet, and how to reach it. Formats live in `leases.codec`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from attrs import field, frozen

from xdpflannel.model.net import Mac


@frozen
class Vtep:
    """The VXLAN end point of a lease, for one address family (flannel's ``BackendData``).

    ``vni`` is None for leases written before flannel v0.14.0; Linux flannel never reads a remote VNI.
    """

    mac: Mac
    vni: int | None = None


@frozen
class LeaseAttributes:
    """What a node publishes about itself (flannel's ``LeaseAttrs``)."""

    public_ip: IPv4Address | None
    public_ip6: IPv6Address | None = None
    backend_type: str = ""
    vtep: Vtep | None = None
    vtep6: Vtep | None = None


@frozen
class SubnetKey:
    """Identity of a lease: its IPv4 subnet, its IPv6 subnet, or both."""

    subnet: IPv4Network | None
    subnet6: IPv6Network | None = None

    def __str__(self) -> str:
        return " & ".join(str(net) for net in (self.subnet, self.subnet6) if net is not None)


@frozen
class Lease:
    """One node's claim on a subnet.

    ``expires_at`` is seconds since the epoch; None for a reservation, and where the store was not asked (it
    is one more request per key, so snapshots and events leave it out). ``reserved`` says that the key has no
    TTL: somebody keeps the subnet for that node. Neither takes part in comparison: a renewal is no change.
    """

    key: SubnetKey
    attributes: LeaseAttributes
    expires_at: float | None = field(default=None, eq=False)
    reserved: bool = field(default=False, eq=False)
