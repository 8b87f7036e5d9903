"""Mirror of bpf/include/xf/abi.h: the shared structs as ctypes, and values to and from bytes.

tests/abi compares every member with the BTF of the compiled object. Multi-byte members are in host order
unless their comment in abi.h says ``__be``.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network

from xdpflannel.model.entries import ConfigEntry, Counter, PodEntry, RouteEntry
from xdpflannel.model.net import Mac

HEADER_MAX = 88
HEADER_IPV4 = 64
VERDICTS = 64
PROGRAMS = 8
COUNTERS = 512

CONFIG_READY = 1 << 0
CONFIG_STRICT = 1 << 1
CONFIG_XDP_TCP = 1 << 2
CONFIG_DECAP_L4 = 1 << 3

POD_NAPI = 1 << 0

_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 2.5.5.2
_OUTER_TTL = 64
_VXLAN_FLAGS = 0x08000000
_ETHERTYPE_IPV4 = 0x0800
_PROTOCOL_UDP = 17


class Program(IntEnum):
    """Who counted: first index of map ``counters``."""

    POD_EGRESS = 0
    UPLINK_INGRESS = 1
    XDP_UPLINK = 2
    XDP_POD = 3

    @property
    def label(self) -> str:
        """Name as metrics and commands print it; the C function is ``xf_<label>``."""
        return self.name.lower()


class Config(ctypes.Structure):
    """``struct xf_config``."""

    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("device_ifindex", ctypes.c_uint32),
        ("vni", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("source_port_min", ctypes.c_uint16),
        ("source_port_span", ctypes.c_uint16),
        ("vtep_mac", ctypes.c_uint8 * 6),
        ("uplink_mac", ctypes.c_uint8 * 6),
        ("pad", ctypes.c_uint16),
        ("vtep_ip", ctypes.c_uint32 * 4),
    )


class Prefix4(ctypes.Structure):
    """``struct xf_prefix4``."""

    _fields_ = (("length", ctypes.c_uint32), ("address", ctypes.c_uint32))


class Route(ctypes.Structure):
    """``struct xf_route``."""

    _fields_ = (
        ("header", ctypes.c_uint8 * HEADER_MAX),
        ("vtep_ip", ctypes.c_uint32 * 4),
        ("ifindex", ctypes.c_uint32),
        ("mtu", ctypes.c_uint16),
        ("header_length", ctypes.c_uint16),
    )


class Pod(ctypes.Structure):
    """``struct xf_pod``."""

    _fields_ = (
        ("ifindex", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("mac", ctypes.c_uint8 * 6),
        ("gateway_mac", ctypes.c_uint8 * 6),
        ("port_mac", ctypes.c_uint8 * 6),
        ("mtu", ctypes.c_uint16),
    )


class Vtep(ctypes.Structure):
    """``struct xf_vtep``."""

    _fields_ = (("routes", ctypes.c_uint32),)


class CounterValue(ctypes.Structure):
    """``struct xf_counter``."""

    _fields_ = (("packets", ctypes.c_uint64), ("bytes", ctypes.c_uint64))


def _be16(value: int) -> int:
    return int(struct.unpack("=H", struct.pack("!H", value))[0])


def _be32(value: int) -> int:
    return int(struct.unpack("=I", struct.pack("!I", value))[0])


def _address(ip: IPv4Address) -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 4).from_buffer_copy(_MAPPED + ip.packed)


def _ipv4(words: ctypes.Array[ctypes.c_uint32]) -> IPv4Address:
    return IPv4Address(bytes(words)[12:])


def _mac(mac: Mac) -> ctypes.Array[ctypes.c_uint8]:
    return (ctypes.c_uint8 * 6)(*mac.packed)


def encode_config(entry: ConfigEntry) -> bytes:
    """Return the value of ``config[0]``."""
    first, last = entry.source_ports
    flags = CONFIG_READY
    flags |= CONFIG_STRICT if entry.strict else 0
    flags |= CONFIG_XDP_TCP if entry.xdp_takes_tcp else 0
    flags |= CONFIG_DECAP_L4 if entry.decap_clears_tunnel_gso else 0
    return bytes(
        Config(
            flags=flags,
            device_ifindex=entry.device_ifindex,
            vni=_be32(entry.vni << 8),
            port=_be16(entry.port),
            source_port_min=first,
            source_port_span=last - first,
            vtep_mac=_mac(entry.vtep_mac),
            uplink_mac=_mac(entry.uplink_mac),
            vtep_ip=_address(entry.vtep_ip),
        )
    )


def decode_config(raw: bytes) -> ConfigEntry | None:
    """Read ``config[0]`` back; None while it is not filled in."""
    value = Config.from_buffer_copy(raw)
    if not value.flags & CONFIG_READY:
        return None
    return ConfigEntry(
        device_ifindex=value.device_ifindex,
        uplink_mac=Mac(bytes(value.uplink_mac)),
        vtep_mac=Mac(bytes(value.vtep_mac)),
        vtep_ip=_ipv4(value.vtep_ip),
        vni=_be32(value.vni) >> 8,
        port=_be16(value.port),
        source_ports=(value.source_port_min, value.source_port_min + value.source_port_span),
        strict=bool(value.flags & CONFIG_STRICT),
        xdp_takes_tcp=bool(value.flags & CONFIG_XDP_TCP),
        decap_clears_tunnel_gso=bool(value.flags & CONFIG_DECAP_L4),
    )


def encode_prefix(network: IPv4Network) -> bytes:
    """Return the key of ``routes4``."""
    return struct.pack("=I", network.prefixlen) + network.network_address.packed


def decode_prefix(raw: bytes) -> IPv4Network:
    """Read a key of ``routes4`` back."""
    return IPv4Network((raw[4:8], int(struct.unpack("=I", raw[:4])[0])))


def header_template(route: RouteEntry) -> bytes:
    """Return the 64 bytes before the inner IP packet, with what varies per packet left at zero.

    Outer Ethernet, IPv4 (TTL 64, DF clear, checksum over the template), UDP (checksum 0: over IPv4 that means
    none, RFC 768), VXLAN (RFC 7348) and the inner Ethernet header from our flannel.N to the peer's.
    """
    next_hop = route.next_hop_mac.packed if route.next_hop_mac else bytes(6)
    ethernet = next_hop + route.source_mac.packed + struct.pack("!H", _ETHERTYPE_IPV4)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, _OUTER_TTL, _PROTOCOL_UDP, 0)
    ip += route.local_ip.packed + route.vtep_ip.packed
    total = sum(struct.unpack("!10H", ip))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    udp = struct.pack("!HHHH", 0, route.port, 0, 0)
    vxlan = struct.pack("!II", _VXLAN_FLAGS, route.vni << 8)
    inner = route.vtep_mac.packed + route.local_mac.packed + struct.pack("!H", _ETHERTYPE_IPV4)
    return ethernet + ip + udp + vxlan + inner


def encode_route(entry: RouteEntry) -> bytes:
    """Return a value of ``routes4``; an unresolved next hop becomes interface 0."""
    template = header_template(entry)
    return bytes(
        Route(
            header=(ctypes.c_uint8 * HEADER_MAX)(*template),
            vtep_ip=_address(entry.vtep_ip),
            ifindex=entry.ifindex if entry.next_hop_mac else 0,
            mtu=entry.mtu,
            header_length=len(template),
        )
    )


def decode_route(raw: bytes) -> RouteEntry:
    """Read a value of ``routes4`` back. An unresolved entry does not remember its interface."""
    value = Route.from_buffer_copy(raw)
    header = bytes(value.header)[:HEADER_IPV4]
    return RouteEntry(
        vtep_ip=_ipv4(value.vtep_ip),
        vtep_mac=Mac(header[50:56]),
        local_ip=IPv4Address(header[26:30]),
        local_mac=Mac(header[56:62]),
        ifindex=value.ifindex,
        source_mac=Mac(header[6:12]),
        next_hop_mac=Mac(header[:6]) if value.ifindex else None,
        mtu=value.mtu,
        vni=int.from_bytes(header[46:50], "big") >> 8,
        port=int.from_bytes(header[36:38], "big"),
    )


def encode_pod(entry: PodEntry) -> bytes:
    """Return a value of ``pods4``."""
    return bytes(
        Pod(
            ifindex=entry.ifindex,
            flags=POD_NAPI if entry.napi else 0,
            mac=_mac(entry.mac),
            gateway_mac=_mac(entry.gateway_mac),
            port_mac=_mac(entry.port_mac),
            mtu=entry.mtu,
        )
    )


def decode_pod(raw: bytes) -> PodEntry:
    """Read a value of ``pods4`` back."""
    value = Pod.from_buffer_copy(raw)
    return PodEntry(
        ifindex=value.ifindex,
        mac=Mac(bytes(value.mac)),
        gateway_mac=Mac(bytes(value.gateway_mac)),
        port_mac=Mac(bytes(value.port_mac)),
        mtu=value.mtu,
        napi=bool(value.flags & POD_NAPI),
    )


def encode_vtep(routes: int) -> bytes:
    """Return a value of ``vteps4``: how many subnets the node has."""
    return bytes(Vtep(routes=routes))


def decode_vtep(raw: bytes) -> int:
    """Read a value of ``vteps4`` back."""
    return int(Vtep.from_buffer_copy(raw).routes)


def decode_counter(per_cpu: list[bytes]) -> Counter:
    """Add up one entry of ``counters`` over all CPUs."""
    values = [CounterValue.from_buffer_copy(raw) for raw in per_cpu]
    return Counter(sum(value.packets for value in values), sum(value.bytes for value in values))
