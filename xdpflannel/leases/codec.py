"""flannel's lease keys and values, byte for byte (flannel: pkg/subnet/subnet.go, pkg/lease/lease.go).

key    <prefix>/subnets/10.5.52.0-24            or   …/10.12.13.0-24&fd00:12:13::-56
value  {"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",
        "BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}
"""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from xdpflannel.errors import LeaseFormatError
from xdpflannel.leases.store import LeaseDeleted, LeaseEvent, LeasePut, Skipped
from xdpflannel.model import gojson
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac

VXLAN = "vxlan"
"""The backend type exactly as it must be written: stock nodes skip a lease with any other spelling."""

# flannel's own expression: not anchored at the start, and two of its dots match anything.
_KEY = re.compile(r"([0-9]+\.[0-9]+.[0-9]+.[0-9]+)-([0-9]+)(?:&([a-f0-9:]+)-([0-9]+))?\Z")

# flannel reads the lengths into 5 and 7 bits, so /32 and /128 cannot be written.
_LONGEST = 31
_LONGEST6 = 127

_HINT = "remove or rewrite the entry; stock flannel may drop every peer when it sees one that it cannot read"


def parse_key(text: str) -> SubnetKey:
    """Read a subnet key, with or without the path before it.

    As tolerant as flannel: text before the address is ignored, host bits are masked away, ``&::-0`` means no
    IPv6 subnet and ``0.0.0.0-0&…`` no IPv4 subnet. ``format_key`` of the result is the one name that the
    subnet should have.

    Raises:
        LeaseFormatError: flannel would not accept it either.
    """
    match = _KEY.search(text)
    if match is None:
        raise _bad_key(text, "it does not have the form A.B.C.D-LEN or A.B.C.D-LEN&IPV6-LEN")
    subnet = _subnet(text, match[1], match[2])
    subnet6 = _subnet6(text, match[3], match[4]) if match[3] else None
    if subnet is None and subnet6 is None:
        raise _bad_key(text, "it names no subnet")
    return SubnetKey(subnet, subnet6)


def format_key(key: SubnetKey) -> str:
    """The last part of the key's path.

    Raises:
        LeaseFormatError: flannel could not read it (a /32, a /128, or no subnet at all).
    """
    text = _key_text(key)
    if parse_key(text) != key:
        raise _bad_key(text, "flannel would read something else")
    return text


def parse_value(text: str | bytes) -> LeaseAttributes:
    """Read a lease's value. Members may be missing; extra ones are ignored.

    Raises:
        LeaseFormatError: it is not JSON, a member has the wrong type, or vxlan data holds no usable MAC.
    """
    try:
        document = gojson.loads(text)
    except ValueError as error:
        raise _bad_value(f"not JSON: {error}") from None
    if document is None:
        return LeaseAttributes(public_ip=None)
    if not isinstance(document, dict):
        raise _bad_value(f"{gojson.kind(document)} instead of an object")
    backend_type = document.get("backendtype")
    if backend_type is not None and not isinstance(backend_type, str):
        raise _bad_value(f"BackendType is {gojson.kind(backend_type)}")
    is_vxlan = backend_type == VXLAN
    return LeaseAttributes(
        public_ip=_public_ip(document),
        public_ip6=_public_ip6(document),
        backend_type=backend_type or "",
        vtep=_vtep(document, "BackendData") if is_vxlan else None,
        vtep6=_vtep(document, "BackendV6Data") if is_vxlan else None,
    )


def format_value(attributes: LeaseAttributes) -> bytes:
    """The value exactly as Go's encoder writes it: fixed order, no spaces, empty members left out."""
    document: dict[str, object] = {
        "PublicIP": str(attributes.public_ip or IPv4Address(0)),
        "PublicIPv6": _text6(attributes.public_ip6),
    }
    if attributes.backend_type:
        document["BackendType"] = attributes.backend_type
    if attributes.vtep is not None:
        document["BackendData"] = _vtep_document(attributes.vtep)
    if attributes.vtep6 is not None:
        document["BackendV6Data"] = _vtep_document(attributes.vtep6)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read_key(name: str, folder: str) -> SubnetKey:
    """Read a store's full key ``name``, which should be ``folder`` + "/" + the canonical subnet key.

    The list and watch range is flannel's, a prefix without a slash, so strangers may be in it. A second
    spelling of a subnet is refused: deleting that key would take the real lease away.

    Raises:
        LeaseFormatError: it is not that.
    """
    head, slash, tail = name.rpartition("/")
    if not slash or head != folder:
        raise _bad_key(name, f"it is not in {folder}/")
    key = parse_key(tail)
    canonical = _key_text(key)
    if tail != canonical:
        raise _bad_key(name, f"this subnet's key is {canonical}")
    return key


def read_lease(name: str, value: bytes, folder: str, *, reserved: bool) -> Lease | Skipped:
    """A store's entry as a lease, or why it is none."""
    key = None
    try:
        key = read_key(name, folder)
        return Lease(key, parse_value(value), reserved=reserved)
    except LeaseFormatError as error:
        return Skipped(name, str(error), key)


def read_event(name: str, value: bytes | None, folder: str, *, reserved: bool) -> LeaseEvent | Skipped | None:
    """A store's change as an event; ``value`` None is a deletion. None: something unreadable went away."""
    if value is None:
        try:
            return LeaseDeleted(read_key(name, folder))
        except LeaseFormatError:
            return None
    lease = read_lease(name, value, folder, reserved=reserved)
    return LeasePut(lease) if isinstance(lease, Lease) else lease


def _key_text(key: SubnetKey) -> str:
    text = f"{IPv4Address(0)}-0"
    if key.subnet is not None:
        text = f"{key.subnet.network_address}-{key.subnet.prefixlen}"
    if key.subnet6 is not None:
        text += f"&{key.subnet6.network_address}-{key.subnet6.prefixlen}"
    return text


def _subnet(text: str, address: str, length: str) -> IPv4Network | None:
    try:
        ip = IPv4Address(address)
    except ValueError:
        raise _bad_key(text, f"{address} is not an IPv4 address") from None
    bits = _length(text, length, _LONGEST)
    if int(ip) == 0 and bits == 0:
        return None
    return IPv4Network((int(ip), bits), strict=False)


def _subnet6(text: str, address: str, length: str) -> IPv6Network | None:
    try:
        ip = IPv6Address(address)
    except ValueError:
        raise _bad_key(text, f"{address} is not an IPv6 address") from None
    bits = _length(text, length, _LONGEST6)
    if int(ip) == 0 and bits == 0:
        return None
    return IPv6Network((int(ip), bits), strict=False)


def _length(text: str, length: str, longest: int) -> int:
    digits = length.lstrip("0") or "0"
    if len(digits) > 3 or int(digits) > longest:
        raise _bad_key(text, f"the longest prefix that flannel reads here is /{longest}")
    return int(digits)


def _public_ip(document: dict[str, object]) -> IPv4Address | None:
    if "publicip" not in document:
        return None
    value = document["publicip"]
    address = _ipv4(value)
    if address is None:
        raise _bad_value(f"PublicIP {gojson.shown(value)} is not an IPv4 address")
    return address if int(address) else None


def _public_ip6(document: dict[str, object]) -> IPv6Address | None:
    value = document.get("publicipv6")
    if value is None:
        return None
    address = _ipv6(value)
    if address is None:
        raise _bad_value(f"PublicIPv6 {gojson.shown(value)} is not an IPv6 address")
    return address


def _ipv4(value: object) -> IPv4Address | None:
    try:
        return IPv4Address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _ipv6(value: object) -> IPv6Address | None:
    if not isinstance(value, str) or "%" in value:
        return None
    try:
        # Go keeps an IPv4 address in 16 bytes too, as an IPv4-mapped one.
        return IPv6Address(value if ":" in value else f"::ffff:{IPv4Address(value)}")
    except ValueError:
        return None


def _text6(address: IPv6Address | None) -> str | None:
    if address is None:
        return None
    return str(address.ipv4_mapped or address)


def _vtep(document: dict[str, object], name: str) -> Vtep | None:
    data = document.get(name.casefold())
    if data is None:
        return None
    if not isinstance(data, dict):
        raise _bad_value(f"{name} is {gojson.kind(data)} instead of an object")
    vni = data.get("vni")
    if vni is not None and (not isinstance(vni, int) or isinstance(vni, bool)):
        raise _bad_value(f"{name} VNI {gojson.shown(vni)} is not a whole number")
    text = data.get("vtepmac")
    if not isinstance(text, str):
        raise _bad_value(f"{name} has no VtepMAC")
    try:
        mac = Mac.parse(text)
    except ValueError:
        raise _bad_value(f"{name} VtepMAC {gojson.shown(text)} is not an Ethernet address") from None
    if not mac.is_unicast:
        raise _bad_value(f"{name} VtepMAC {mac} is not the address of an interface")
    return Vtep(mac, vni)


def _vtep_document(vtep: Vtep) -> dict[str, object]:
    vni = {} if vtep.vni is None else {"VNI": vtep.vni}
    return {**vni, "VtepMAC": str(vtep.mac)}


def _bad_key(text: str, why: str) -> LeaseFormatError:
    return LeaseFormatError(f"lease key {gojson.shown(text)}: {why}", hint=_HINT)


def _bad_value(why: str) -> LeaseFormatError:
    return LeaseFormatError(f"lease value: {why}", hint=_HINT)
