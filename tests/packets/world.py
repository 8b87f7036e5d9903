"""The one node that all packet cases are about, its pods and its peers, as map entries."""

from ipaddress import IPv4Address, IPv4Network

from attrs import evolve

from xdpflannel.model.entries import ConfigEntry, PodEntry, RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.table.reference import State

LO = 1
"""Every frame enters here: BPF_PROG_TEST_RUN wants an interface that exists, and `lo` always does."""

UPLINK = 21
OUR_IP = IPv4Address("192.0.2.1")
PEER_IP = IPv4Address("192.0.2.2")
FAR_PEER_IP = IPv4Address("192.0.2.3")
DOWN_PEER_IP = IPv4Address("192.0.2.4")
STRANGER_IP = IPv4Address("192.0.2.66")

UPLINK_MAC = Mac.parse("02:aa:00:00:00:01")
PEER_UPLINK_MAC = Mac.parse("02:aa:00:00:00:02")
ROUTER_MAC = Mac.parse("02:aa:00:00:00:fe")
VTEP_MAC = Mac.parse("02:bb:00:00:00:01")
PEER_VTEP_MAC = Mac.parse("02:bb:00:00:00:02")
FAR_VTEP_MAC = Mac.parse("02:bb:00:00:00:03")
DOWN_VTEP_MAC = Mac.parse("02:bb:00:00:00:04")
GATEWAY_MAC = Mac.parse("02:cc:00:00:00:01")
OTHER_MAC = Mac.parse("02:dd:00:00:00:99")

VNI = 1
PORT = 8472
MTU = 1450

CONFIG = ConfigEntry(
    device_ifindex=31,
    uplink_mac=UPLINK_MAC,
    vtep_mac=VTEP_MAC,
    vtep_ip=OUR_IP,
    vni=VNI,
    port=PORT,
    source_ports=(32768, 60999),
    strict=False,
    xdp_takes_tcp=True,
)

TO_PEER = RouteEntry(
    vtep_ip=PEER_IP,
    vtep_mac=PEER_VTEP_MAC,
    local_ip=OUR_IP,
    local_mac=VTEP_MAC,
    ifindex=UPLINK,
    source_mac=UPLINK_MAC,
    next_hop_mac=PEER_UPLINK_MAC,
    mtu=MTU,
    vni=VNI,
    port=PORT,
)
TO_FAR_PEER = evolve(
    TO_PEER, vtep_ip=FAR_PEER_IP, vtep_mac=FAR_VTEP_MAC, next_hop_mac=ROUTER_MAC, mtu=1400, ifindex=22
)
TO_DOWN_PEER = evolve(TO_PEER, vtep_ip=DOWN_PEER_IP, vtep_mac=DOWN_VTEP_MAC, next_hop_mac=None)
TO_BIG_PEER = evolve(TO_PEER, mtu=65535)

POD_IP = IPv4Address("10.244.1.2")
SIBLING_IP = IPv4Address("10.244.1.3")
OLD_SIBLING_IP = IPv4Address("10.244.1.4")
NEW_POD_IP = IPv4Address("10.244.1.200")
"""In this node's subnet, but not learned yet."""

REMOTE_IP = IPv4Address("10.244.2.7")
FAR_IP = IPv4Address("10.244.3.7")
DOWN_IP = IPv4Address("10.244.4.7")
BIG_IP = IPv4Address("10.244.5.7")
WIDE_IP = IPv4Address("10.245.9.9")
NARROW_IP = IPv4Address("10.245.7.9")
WORLD_IP = IPv4Address("198.51.100.7")
"""Outside every subnet of the overlay."""

PORT_MAC = Mac.parse("02:cc:00:00:00:09")


def _pod(number: int, ifindex: int, mtu: int = MTU, *, napi: bool = True) -> PodEntry:
    return PodEntry(
        ifindex=ifindex,
        mac=Mac(bytes.fromhex("02dd000000") + bytes([number])),
        gateway_mac=GATEWAY_MAC,
        port_mac=Mac(bytes.fromhex("02ee000000") + bytes([number])),
        mtu=mtu,
        napi=napi,
    )


POD = _pod(2, LO)
SIBLING = _pod(3, 12, 1300)
OLD_SIBLING = _pod(4, 13, napi=False)

WORLD = State(
    config=CONFIG,
    routes={
        IPv4Network("10.244.2.0/24"): TO_PEER,
        IPv4Network("10.244.3.0/24"): TO_FAR_PEER,
        IPv4Network("10.244.4.0/24"): TO_DOWN_PEER,
        IPv4Network("10.244.5.0/24"): TO_BIG_PEER,
        IPv4Network("10.245.0.0/16"): TO_PEER,
        IPv4Network("10.245.7.0/24"): TO_FAR_PEER,
    },
    pods={POD_IP: POD, SIBLING_IP: SIBLING, OLD_SIBLING_IP: OLD_SIBLING},
    vteps={PEER_IP: 3, FAR_PEER_IP: 2, DOWN_PEER_IP: 1},
)
STRICT = evolve(WORLD, config=evolve(CONFIG, strict=True))
XDP_LEAVES_TCP = evolve(WORLD, config=evolve(CONFIG, xdp_takes_tcp=False))
CLEARS_TUNNEL_GSO = evolve(WORLD, config=evolve(CONFIG, decap_clears_tunnel_gso=True))
NOT_READY = evolve(WORLD, config=None)
STATES = (WORLD, STRICT, XDP_LEAVES_TCP, NOT_READY)
