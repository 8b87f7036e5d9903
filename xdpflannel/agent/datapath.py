"""Which programs go where, and why: the choice behind ``--datapath``."""

from __future__ import annotations

from attrs import evolve, frozen

from xdpflannel.agent.settings import Datapath
from xdpflannel.dataplane.abi import Program
from xdpflannel.model.host import Uplink

# NETDEV_XDP_ACT_* of linux/netdev.h
_XDP_BASIC, _XDP_REDIRECT, _XDP_NDO_XMIT = 1, 2, 4


@frozen
class Choice:
    """Programs for every pod's interface and for the uplink, with the reasons in sentences."""

    pod: tuple[Program, ...]
    uplink: tuple[Program, ...]
    reasons: tuple[str, ...]
    xdp_takes_tcp: bool = False
    exit: tuple[Program, ...] = ()
    """Programs where the kernel's path ends: flannel.N and every pod's interface."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that must be loaded."""
        return (*self.pod, *self.uplink, *self.exit)


def with_proof(choice: Choice) -> Choice:
    """Add what flow proof needs; nothing where only the kernel forwards."""
    if not choice.programs:
        return choice
    reason = "--bypass=proof: a flow is taken once the kernel was seen to forward it unchanged"
    return evolve(choice, exit=(Program.FLOW_EXIT,), reasons=(*choice.reasons, reason))


def choose(wanted: Datapath, uplink: Uplink, features: int | None) -> Choice:
    """Choose for an uplink with these XDP feature bits (None: the kernel does not tell).

    The rules were measured (docs/performance.md): from sockets tc wins, because it keeps GSO and GRO; XDP
    wins where packets are frames already, which is at a NIC; on a veth, attaching it costs more than it
    gives.
    """
    if wanted is Datapath.KERNEL:
        return Choice((), (), ("--datapath=kernel: the kernel's VXLAN forwards everything",))
    if wanted is Datapath.TC:
        return Choice((Program.POD_EGRESS,), (Program.UPLINK_INGRESS,), ("--datapath=tc: tc everywhere",))
    if wanted is Datapath.XDP:
        return _choose_xdp(uplink, features)
    return _choose_auto(uplink, features)


def _choose_xdp(uplink: Uplink, features: int | None) -> Choice:
    if features is not None and features & _XDP_NDO_XMIT:
        return Choice(
            (Program.XDP_POD,),
            (Program.XDP_UPLINK,),
            ("--datapath=xdp: XDP everywhere, TCP too",),
            xdp_takes_tcp=True,
        )
    reason = (
        f"pods send by tc: {uplink.name} ({uplink.driver or 'unknown driver'}) does not say that it takes"
        " frames redirected by XDP"
    )
    return Choice(
        (Program.POD_EGRESS,),
        (Program.XDP_UPLINK,),
        ("--datapath=xdp: XDP on the uplink, TCP too", reason),
        xdp_takes_tcp=True,
    )


def _choose_auto(uplink: Uplink, features: int | None) -> Choice:
    pods = "pods send by tc: it keeps TCP in 64 KiB pieces and leaves checksums to the hardware"
    if uplink.driver == "veth":
        reason = (
            f"{uplink.name} receives by tc: it is a veth, where merely attaching XDP switches the"
            " sender's TSO off"
        )
        return Choice((Program.POD_EGRESS,), (Program.UPLINK_INGRESS,), (pods, reason))
    if features is None or not features & _XDP_BASIC or not features & _XDP_REDIRECT:
        driver = uplink.driver or "unknown"
        reason = f"{uplink.name} receives by tc: its driver ({driver}) has no native XDP"
        return Choice((Program.POD_EGRESS,), (Program.UPLINK_INGRESS,), (pods, reason))
    reason = (
        f"{uplink.name} receives by native XDP ({uplink.driver}), before an skb exists; TCP is left to GRO"
        " and tc"
    )
    return Choice((Program.POD_EGRESS,), (Program.UPLINK_INGRESS, Program.XDP_UPLINK), (pods, reason))
