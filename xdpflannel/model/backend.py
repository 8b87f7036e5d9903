"""flannel's backend: how packets travel between nodes. Of flannel's backends, vxlan is the one done here."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from xdpflannel.errors import ConfigError
from xdpflannel.model import gojson
from xdpflannel.model.net import VNI_MAX

DEFAULT_VNI = 1
DEFAULT_PORT = 8472
"""UDP port of Linux's VXLAN driver, which flannel leaves alone; not IANA's 4789."""

_MTU_MIN = 68 + 50
"""An IPv4 link needs 68 bytes, VXLAN takes 50."""

_MTU_MAX = 65535

_OTHER_BACKENDS = ("udp", "host-gw", "wireguard", "ipip", "ipsec", "alloc", "extension", "tencent-vpc")
_GONE_BACKENDS = ("aws-vpc", "gce", "ali-vpc")
_USE_VXLAN = 'write "Backend": {"Type": "vxlan"}; leave stock flanneld on networks of another backend'


@frozen
class VxlanBackend:
    """Options of the vxlan backend. ``mtu`` is the underlay's, in bytes; None: as the uplink has it."""

    vni: int = DEFAULT_VNI
    port: int = DEFAULT_PORT
    mtu: int | None = None
    gbp: bool = False
    learning: bool = False
    direct_routing: bool = False


def parse_backend(document: Mapping[str, object]) -> VxlanBackend:
    """Read member ``Backend`` of a decoded network configuration (names in lower case).

    Raises:
        ConfigError: there is none, it is not vxlan, or an option cannot be used.
    """
    if "backend" not in document:
        raise ConfigError(
            "the network configuration has no Backend; flannel then means udp, which xdpflannel does not do",
            hint=_USE_VXLAN,
        )
    options = document["backend"]
    if options is None or options == {}:
        shown = "null" if options is None else "{}"
        raise ConfigError(f"Backend is {shown}: it names no type", hint=_USE_VXLAN)
    if not isinstance(options, dict):
        raise ConfigError(f"Backend is {gojson.kind(options)}, not an object", hint=_USE_VXLAN)
    _check_backend_type(options.get("type"))
    return _vxlan(options)


def _check_backend_type(value: object) -> None:
    if value is None or value == "":
        raise ConfigError("Backend has no Type", hint=_USE_VXLAN)
    if not isinstance(value, str):
        raise ConfigError(f"Backend Type is {gojson.kind(value)}, not a string", hint=_USE_VXLAN)
    name = value.lower()
    if name == "vxlan":
        return
    if name in _OTHER_BACKENDS:
        raise ConfigError(
            f'backend "{name}" is one of flannel\'s that xdpflannel does not do '
            f"(it does vxlan; not {', '.join(_OTHER_BACKENDS)})",
            hint=_USE_VXLAN,
        )
    if name in _GONE_BACKENDS:
        raise ConfigError(f'backend "{name}" was removed from flannel', hint=_USE_VXLAN)
    raise ConfigError(f"unknown backend type {gojson.shown(value)}", hint=_USE_VXLAN)


def _vxlan(options: Mapping[str, object]) -> VxlanBackend:
    vni = gojson.integer(options, "VNI", default=DEFAULT_VNI)
    if not 0 <= vni <= VNI_MAX:
        raise ConfigError(f"Backend VNI {vni} is not a 24-bit number", hint=f"choose 1 to {VNI_MAX}")
    port = gojson.integer(options, "Port", default=0)
    if not 0 <= port <= 65535:
        raise ConfigError(f"Backend Port {port} is not a UDP port", hint=f"leave it out for {DEFAULT_PORT}")
    mtu = gojson.integer(options, "MTU", default=0)
    if mtu and not _MTU_MIN <= mtu <= _MTU_MAX:
        raise ConfigError(
            f"Backend MTU {mtu} cannot carry the overlay",
            hint=f"it is the underlay's MTU: {_MTU_MIN} to {_MTU_MAX}, or leave it out",
        )
    if gojson.boolean(options, "GBP", default=False):
        raise ConfigError(
            "Backend GBP is on: xdpflannel does not do VXLAN Group Based Policy, its headers would be lost",
            hint="remove GBP from the network configuration, or stay with stock flanneld on this network",
        )
    return VxlanBackend(
        vni=vni,
        port=port or DEFAULT_PORT,
        mtu=mtu or None,
        learning=gojson.boolean(options, "Learning", default=False),
        direct_routing=gojson.boolean(options, "DirectRouting", default=False),
    )
