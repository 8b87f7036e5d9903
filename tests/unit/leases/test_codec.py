from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.errors import LeaseFormatError
from xdpflannel.leases import codec
from xdpflannel.leases.store import LeaseDeleted, LeasePut, Skipped
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac

FOLDER = "/coreos.com/network/subnets"


def key(subnet: str | None, subnet6: str | None = None) -> SubnetKey:
    return SubnetKey(subnet and IPv4Network(subnet, strict=False), subnet6 and IPv6Network(subnet6))


def vtep(mac: str, vni: int | None = 1) -> Vtep:
    return Vtep(Mac.parse(mac), vni)


# flannel's parser, run on each of these. Host bits are masked: a route has none.
ACCEPTED = [
    ("10.12.13.0-24", key("10.12.13.0/24")),
    ("/coreos.com/network/subnets/10.12.13.0-24", key("10.12.13.0/24")),
    ("10.12.13.0-24&fd00:12:13::-56", key("10.12.13.0/24", "fd00:12:13::/56")),
    ("255.255.255.255-31", key("255.255.255.254/31")),
    ("10.12.13.0-0", key("0.0.0.0/0")),
    ("10.1.2.3-24", key("10.1.2.0/24")),
    ("0.0.0.0-0&fc00::-64", key(None, "fc00::/64")),
    ("10.12.13.0-24&::-0", key("10.12.13.0/24")),
    ("10.12.13.0-24&fd00::-127", key("10.12.13.0/24", "fd00::/127")),
    ("x10.12.13.0-24", key("10.12.13.0/24")),
    ("10.12.13.0-024", key("10.12.13.0/24")),
]

REJECTED = [
    "255.255.255.255-32",
    "255.255.255.255-33",
    "10.12.13.0-24&fd00::-128",
    "10.12.13.0-24&FD00::-56",
    "010.12.13.0-24",
    "10a12b13c0-24",
    "10.12.13.0-24&::ffff:1.2.3.4-64",
    "10",
    "10.12.13.0",
    "10.12.13-24",
    "10.12.13.300-24",
    "10.12.13.0-24hi",
    "&2001::-56",
    "10.12.13.0-24&:12:13:-56",
    "10.12.13.0-24&20011::-56",
    "10.12.13.0-24&2001-56",
    "10.12.13.0-24&2001::",
    "10.12.13.0-24&2001::-56hi",
    "10.12.13.0-24\n",
    "10.12.13.0-99999999999999999999",
    "0.0.0.0-0",
    "not-a-subnet",
    "",
]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_keys_flannel_accepts(text: str, expected: SubnetKey) -> None:
    assert codec.parse_key(text) == expected


@pytest.mark.parametrize("text", REJECTED)
def test_keys_flannel_rejects(text: str) -> None:
    with pytest.raises(LeaseFormatError) as caught:
        codec.parse_key(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["10.12.13.0-24", "10.12.13.0-24&fd00:12:13::-56", "0.0.0.0-0&fc00::-64", "10.0.0.0-9&::1:0-112"]
)
def test_canonical_keys_round_trip(text: str) -> None:
    assert codec.format_key(codec.parse_key(text)) == text


@pytest.mark.parametrize(
    "bad", [key("10.1.2.3/32"), key("10.1.2.0/24", "fc00::1/128"), key(None), key("0.0.0.0/0")]
)
def test_keys_that_flannel_could_not_read_are_never_written(bad: SubnetKey) -> None:
    with pytest.raises(LeaseFormatError):
        codec.format_key(bad)


MAC1, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
VALUES = [
    (
        (
            '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
        ),
        LeaseAttributes(IPv4Address("192.168.64.3"), backend_type="vxlan", vtep=vtep("c6:d2:32:6f:8f:44")),
    ),
    (
        (
            '{"PublicIP":"192.0.2.10","PublicIPv6":"2001:db8::10","BackendType":"vxlan",'
            f'"BackendData":{{"VNI":1,"VtepMAC":"{MAC1}"}},"BackendV6Data":{{"VNI":1,"VtepMAC":"{MAC2}"}}}}'
        ),
        LeaseAttributes(
            IPv4Address("192.0.2.10"), IPv6Address("2001:db8::10"), "vxlan", vtep(MAC1), vtep(MAC2)
        ),
    ),
    (
        (
            '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::10","BackendType":"vxlan",'
            f'"BackendV6Data":{{"VNI":1,"VtepMAC":"{MAC2}"}}}}'
        ),
        LeaseAttributes(None, IPv6Address("2001:db8::10"), "vxlan", None, vtep(MAC2)),
    ),
    ('{"PublicIP":"1.2.3.4","PublicIPv6":null}', LeaseAttributes(IPv4Address("1.2.3.4"))),
    (
        f'{{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VtepMAC":"{MAC1}"}}}}',
        LeaseAttributes(IPv4Address("1.2.3.4"), backend_type="vxlan", vtep=vtep(MAC1, None)),
    ),
]


@pytest.mark.parametrize(("text", "attributes"), VALUES)
def test_values_are_byte_exact(text: str, attributes: LeaseAttributes) -> None:
    assert codec.parse_value(text.encode()) == attributes
    assert codec.format_value(attributes) == text.encode()


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("{}", LeaseAttributes(None)),
        ("null", LeaseAttributes(None)),
        ('{"publicip":"1.2.3.4","x":1}', LeaseAttributes(IPv4Address("1.2.3.4"))),
        ('{"PublicIP":"9.9.9.9","publicIP":"1.2.3.4"}', LeaseAttributes(IPv4Address("1.2.3.4"))),
        ('{"PublicIPv6":"1.2.3.4"}', LeaseAttributes(None, IPv6Address("::ffff:1.2.3.4"))),
        ('{"BackendType":"host-gw","BackendData":"anything"}', LeaseAttributes(None, backend_type="host-gw")),
        (
            '{"backendtype":"vxlan","backenddata":{"vni":5,"vtepmac":"C6-D2-32-6F-8F-44"}}',
            LeaseAttributes(None, backend_type="vxlan", vtep=vtep("c6:d2:32:6f:8f:44", 5)),
        ),
        ('{"BackendType":"vxlan","BackendData":null}', LeaseAttributes(None, backend_type="vxlan")),
    ],
)
def test_values_read_as_go_reads_them(text: str, attributes: LeaseAttributes) -> None:
    assert codec.parse_value(text) == attributes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"PublicIP":""}', "PublicIP"),
        ('{"PublicIP":null}', "PublicIP null"),
        ('{"PublicIP":"fc00::1"}', "PublicIP"),
        ('{"PublicIP":16909060}', "PublicIP 16909060"),
        ('{"PublicIPv6":""}', "PublicIPv6"),
        ('{"PublicIPv6":7}', "PublicIPv6"),
        ("[]", "an array"),
        ("7", "a number"),
        ("", "not JSON"),
        ('{"PublicIP":"1.2.3.4"', "not JSON"),
        ('{"BackendType":7}', "BackendType is a number"),
        ('{"BackendType":"vxlan","BackendData":"x"}', "BackendData is a string"),
        ('{"BackendType":"vxlan","BackendData":{"VNI":1}}', "no VtepMAC"),
        ('{"BackendType":"vxlan","BackendData":{"VNI":"1","VtepMAC":"02:00:00:00:00:01"}}', "VNI"),
        ('{"BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00"}}', "not an Ethernet address"),
        ('{"BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:01:02:03"}}', "not an Ethernet"),
        ('{"BackendType":"vxlan","BackendData":{"VtepMAC":"01:00:5e:00:00:01"}}', "not the address of an"),
        ('{"BackendType":"vxlan","BackendV6Data":{"VtepMAC":"00:00:00:00:00:00"}}', "BackendV6Data VtepMAC"),
    ],
)
def test_values_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(LeaseFormatError, match=message):
        codec.parse_value(text)


ADDRESSES4 = st.ip_addresses(v=4)
ADDRESSES6 = st.ip_addresses(v=6)
SUBNETS4 = st.builds(lambda ip, n: IPv4Network((int(ip), n), strict=False), ADDRESSES4, st.integers(1, 31))
SUBNETS6 = st.builds(lambda ip, n: IPv6Network((int(ip), n), strict=False), ADDRESSES6, st.integers(1, 127))
KEYS = st.builds(SubnetKey, SUBNETS4, st.none() | SUBNETS6) | st.builds(SubnetKey, st.none(), SUBNETS6)
VTEPS = st.builds(
    Vtep,
    st.binary(min_size=6, max_size=6).map(Mac).filter(lambda mac: mac.is_unicast),
    st.none() | st.integers(0, (1 << 24) - 1),
)
ATTRIBUTES = st.builds(
    LeaseAttributes,
    public_ip=st.none() | ADDRESSES4.filter(int),
    public_ip6=st.none() | ADDRESSES6,
    backend_type=st.just("vxlan"),
    vtep=st.none() | VTEPS,
    vtep6=st.none() | VTEPS,
)


def mapped(key: SubnetKey) -> bool:
    """Python writes these addresses as dotted IPv4, which no flannel key may hold."""
    return key.subnet6 is not None and "." in str(key.subnet6)


@given(KEYS.filter(lambda key: not mapped(key)))
def test_keys_round_trip(key: SubnetKey) -> None:
    text = codec.format_key(key)
    assert codec.parse_key(text) == key
    assert codec.read_key(f"{FOLDER}/{text}", FOLDER) == key


@given(ATTRIBUTES)
def test_values_round_trip(attributes: LeaseAttributes) -> None:
    assert codec.parse_value(codec.format_value(attributes)) == attributes


@given(
    st.text(alphabet="0123456789abcdef.-&:x/\n", max_size=40) | st.text(max_size=20), st.binary(max_size=60)
)
def test_anything_is_a_lease_or_skipped(name: str, value: bytes) -> None:
    for full in (name, f"{FOLDER}/{name}", f"{FOLDER}/10.5.1.0-24"):
        assert isinstance(codec.read_lease(full, value, FOLDER, reserved=False), Lease | Skipped)
        codec.read_event(full, None, FOLDER, reserved=False)


def test_a_second_spelling_of_a_subnet_is_skipped() -> None:
    value = b'{"PublicIP":"1.2.3.4"}'
    good = codec.read_event(f"{FOLDER}/10.1.2.0-24", value, FOLDER, reserved=True)
    assert isinstance(good, LeasePut)
    assert good.lease.reserved
    for name in ("10.1.2.3-24", "10.1.2.0-024", "x10.1.2.0-24", "10.1.2.0-24&::-0", "a/10.1.2.0-24"):
        bad = codec.read_event(f"{FOLDER}/{name}", value, FOLDER, reserved=False)
        assert isinstance(bad, Skipped), name
        assert bad.lease_key is None
        assert codec.read_event(f"{FOLDER}/{name}", None, FOLDER, reserved=False) is None
    assert isinstance(codec.read_lease(f"{FOLDER}X/10.1.2.0-24", value, FOLDER, reserved=False), Skipped)
    assert codec.read_event(f"{FOLDER}/10.1.2.0-24", None, FOLDER, reserved=False) == LeaseDeleted(
        key("10.1.2.0/24")
    )


def test_an_unreadable_value_still_names_its_lease() -> None:
    skipped = codec.read_lease(f"{FOLDER}/10.1.2.0-24", b"?", FOLDER, reserved=False)
    assert isinstance(skipped, Skipped)
    assert skipped.lease_key == key("10.1.2.0/24")
