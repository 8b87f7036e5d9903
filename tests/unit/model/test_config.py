import contextlib
import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.errors import ConfigError
from xdpflannel.model.config import NetworkConfig, VxlanBackend, parse_network_config

VXLAN = {"Backend": {"Type": "vxlan"}}


def parse(**members: object) -> NetworkConfig:
    return parse_network_config(json.dumps({**VXLAN, **members}))


def refuse(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_network_config(text)
    assert caught.value.hint
    return caught.value


# flannel's own results (its ParseConfig and CheckNetworkConfig): network, SubnetLen, SubnetMin, SubnetMax.
GOLDEN4 = [
    ({"Network": "10.3.0.0/16"}, 24, "10.3.1.0", "10.3.255.0"),
    ({"Network": "10.0.0.0/8"}, 24, "10.0.1.0", "10.255.255.0"),
    ({"Network": "10.0.0.0/21"}, 24, "10.0.1.0", "10.0.7.0"),
    ({"Network": "10.0.0.0/22"}, 24, "10.0.1.0", "10.0.3.0"),
    ({"Network": "10.0.0.0/23"}, 25, "10.0.0.128", "10.0.1.128"),
    ({"Network": "10.0.0.0/24"}, 26, "10.0.0.64", "10.0.0.192"),
    ({"Network": "10.0.0.0/27"}, 29, "10.0.0.8", "10.0.0.24"),
    ({"Network": "10.0.0.0/28"}, 30, "10.0.0.4", "10.0.0.12"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 30}, 30, "10.0.0.4", "10.0.255.252"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 18}, 18, "10.0.64.0", "10.0.192.0"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 0}, 24, "10.0.1.0", "10.0.255.0"),
    (
        {"Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0"},
        20,
        "10.10.0.0",
        "10.99.0.0",
    ),
    (
        {"Network": "10.3.0.0/16", "SubnetLen": 28, "SubnetMin": "10.3.5.0", "SubnetMax": "10.3.8.0"},
        28,
        "10.3.5.0",
        "10.3.8.0",
    ),
    ({"Network": "10.3.0.0/16", "SubnetMin": "10.3.0.0"}, 24, "10.3.0.0", "10.3.255.0"),
    ({"Network": "10.3.77.1/16"}, 24, "10.3.1.0", "10.3.255.0"),
    ({"Network": "10.3.0.0/16", "SubnetMin": "0.0.0.0"}, 24, "10.3.1.0", "10.3.255.0"),
    ({"Network": "10.3.0.0/16", "IPv6Network": "fc00::/48"}, 24, "10.3.1.0", "10.3.255.0"),
]

GOLDEN6 = [
    ({"IPv6Network": "fc00::/48"}, 64, "fc00:0:0:1::", "fc00:0:0:ffff::"),
    ({"IPv6Network": "2001:cafe:42::/56"}, 64, "2001:cafe:42:1::", "2001:cafe:42:ff::"),
    ({"IPv6Network": "fc00::/62"}, 64, "fc00:0:0:1::", "fc00:0:0:3::"),
    ({"IPv6Network": "fc00::/63"}, 65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::"),
    ({"IPv6Network": "fc00::/64"}, 66, "fc00::4000:0:0:0", "fc00::c000:0:0:0"),
    ({"IPv6Network": "fc00::/124"}, 126, "fc00::4", "fc00::c"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetLen": 126}, 126, "fc00::4", "fc00::ffff:ffff:ffff:ffff:fffc"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetLen": 50}, 50, "fc00:0:0:4000::", "fc00:0:0:c000::"),
    (
        {
            "IPv6Network": "fc00::/48",
            "IPv6SubnetMin": "fc00:0:0:1::",
            "IPv6SubnetMax": "fc00:0:0:f::",
            "IPv6SubnetLen": 124,
        },
        124,
        "fc00:0:0:1::",
        "fc00:0:0:f::",
    ),
]

REFUSED = [
    ({}, "has no Network"),
    ({"Network": "0.0.0.0/0"}, "is everything"),
    ({"Network": "10.0.0.0/29"}, "too small"),
    ({"Network": "10.0.0.0/30"}, "too small"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 31}, "too long"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 32}, "too long"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 17}, "fewer than four subnets"),
    ({"Network": "10.0.0.0/16", "SubnetLen": -1}, "negative"),
    ({"Network": "10.0.0.0/16", "SubnetLen": "24"}, "not a whole number"),
    ({"Network": "10.0.0.0/16", "SubnetLen": 24.0}, "not a whole number"),
    ({"Network": "10.0.0.0/16", "SubnetLen": True}, "not a whole number"),
    ({"Network": "10.3.0.0/16", "SubnetMin": "10.4.1.0"}, "not in the range"),
    ({"Network": "10.3.0.0/16", "SubnetMin": "10.3.1.1"}, "not on a subnet boundary"),
    ({"Network": "10.3.0.0/16", "SubnetMax": "10.3.9.128"}, "not on a subnet boundary"),
    ({"Network": "10.3.0.0/16", "SubnetMax": "10.4.0.0"}, "not in the range"),
    ({"Network": "10.3.0.0/16", "SubnetMin": "here"}, "not an IPv4 address"),
    ({"Network": "10.3.0.0/16", "SubnetMin": "10.3.9.0", "SubnetMax": "10.3.8.0"}, "is above"),
    ({"Network": ""}, "not an IPv4 network"),
    ({"Network": "10.3.0.0"}, "not an IPv4 network"),
    ({"Network": "10.3.0.0/255.255.0.0"}, "not an IPv4 network"),
    ({"Network": "10.3.0.0/33"}, "not an IPv4 network"),
    ({"Network": "fc00::/48"}, "not an IPv4 network"),
    ({"Network": None}, "not an IPv4 network"),
    ({"Network": 10}, "not an IPv4 network"),
    ({"Network": "10.3.0.0/16", "EnableIPv4": "yes"}, "not a boolean"),
    ({"EnableIPv4": False}, "both IPv4 and IPv6 off"),
    ({"Network": "10.3.0.0/16", "EnableIPv6": True}, "has no IPv6Network"),
]

REFUSED6 = [
    ({"IPv6Network": "::/0"}, "is everything"),
    ({"IPv6Network": "fc00::/125"}, "too small"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetLen": 127}, "too long"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetLen": 49}, "fewer than four subnets"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetMin": "fd00::"}, "not in the range"),
    ({"IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc00::1"}, "not on a subnet boundary"),
    ({"IPv6Network": "10.0.0.0/8"}, "not an IPv6 network"),
    ({"IPv6Network": "fe80::1%eth0/64"}, "not an IPv6 network"),
]

REFUSED_BACKENDS = [
    (None, "Backend is null"),
    ({}, "Backend is {}"),
    ([], "an array, not an object"),
    ({"VNI": 1}, "has no Type"),
    ({"Type": None}, "has no Type"),
    ({"Type": 1}, "not a string"),
    ({"Type": "host-gw"}, '"host-gw" is one of flannel\'s that xdpflannel does not do'),
    ({"Type": "UDP"}, '"udp" is one of'),
    ({"Type": "gce"}, "removed from flannel"),
    ({"Type": "banana"}, 'unknown backend type "banana"'),
    ({"Type": "vxlan", "VNI": 1 << 24}, "24-bit"),
    ({"Type": "vxlan", "VNI": -1}, "24-bit"),
    ({"Type": "vxlan", "VNI": "1"}, "not a whole number"),
    ({"Type": "vxlan", "Port": 65536}, "not a UDP port"),
    ({"Type": "vxlan", "MTU": 100}, "cannot carry"),
    ({"Type": "vxlan", "MTU": -1}, "cannot carry"),
    ({"Type": "vxlan", "GBP": True}, "Group Based Policy"),
    ({"Type": "vxlan", "Learning": 1}, "not a boolean"),
]


@pytest.mark.parametrize(("members", "length", "first", "last"), GOLDEN4)
def test_ipv4_ranges_are_flannels(members: dict[str, object], length: int, first: str, last: str) -> None:
    config = parse(**members)
    assert (config.subnet_len, config.subnet_min, config.subnet_max) == (
        length,
        IPv4Address(first),
        IPv4Address(last),
    )
    assert config.network == IPv4Network(str(members["Network"]), strict=False)
    assert (config.network6, config.subnet_len6, config.subnet_min6, config.subnet_max6) == (
        None,
        0,
        None,
        None,
    )


@pytest.mark.parametrize(("members", "length", "first", "last"), GOLDEN6)
def test_ipv6_ranges_are_flannels(members: dict[str, object], length: int, first: str, last: str) -> None:
    config = parse(EnableIPv4=False, EnableIPv6=True, **members)
    assert (config.subnet_len6, config.subnet_min6, config.subnet_max6) == (
        length,
        IPv6Address(first),
        IPv6Address(last),
    )
    assert config.network6 == IPv6Network(str(members["IPv6Network"]))
    assert (config.network, config.subnet_len, config.subnet_min, config.subnet_max) == (None, 0, None, None)


def test_dual_stack() -> None:
    config = parse(EnableIPv6=True, Network="10.42.0.0/16", IPv6Network="2001:cafe:42::/56")
    assert (config.subnet_min, config.subnet_max6) == (
        IPv4Address("10.42.1.0"),
        IPv6Address("2001:cafe:42:ff::"),
    )


@pytest.mark.parametrize(("members", "message"), REFUSED)
def test_each_rule_has_its_message(members: dict[str, object], message: str) -> None:
    assert message in str(refuse(json.dumps({**VXLAN, **members})))


@pytest.mark.parametrize(("members", "message"), REFUSED6)
def test_each_ipv6_rule_has_its_message(members: dict[str, object], message: str) -> None:
    text = json.dumps({**VXLAN, "EnableIPv4": False, "EnableIPv6": True, **members})
    assert message in str(refuse(text))


@pytest.mark.parametrize(("backend", "message"), REFUSED_BACKENDS)
def test_each_backend_rule_has_its_message(backend: object, message: str) -> None:
    assert message in str(refuse(json.dumps({"Network": "10.3.0.0/16", "Backend": backend})))


def test_no_backend_means_udp() -> None:
    assert "no Backend; flannel then means udp" in str(refuse('{"Network":"10.3.0.0/16"}'))


def test_other_backends_are_named() -> None:
    error = refuse('{"Network":"10.3.0.0/16","Backend":{"Type":"wireguard"}}')
    assert all(name in str(error) for name in ("udp", "host-gw", "wireguard", "ipip", "ipsec"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ('{"Network":"10.3.0.0/16",}', "not JSON"),
        ("garbage", "not JSON"),
        ('{"SubnetLen": NaN}', "NaN is not JSON"),
        ("[]", "an array"),
        ("null", "is null"),
        ("[" * 100_000, "nested too deeply"),
        ('{"SubnetLen":' + "1" * 5000 + "}", "not JSON"),
    ],
)
def test_what_is_no_document(text: str, message: str) -> None:
    assert message in str(refuse(text))


def test_names_ignore_case_and_the_last_duplicate_wins() -> None:
    config = parse_network_config(
        '{"NETWORK":"10.9.0.0/16","subnetlen":26,"Unknown":{"x":[1]},"network":"10.3.0.0/16","SUBNETLEN":25,'
        '"backend":{"type":"VXLAN","vni":7,"PORT":4789,"mtu":9000,"learning":true,"directROUTING":true,"Mac":"x"}}'
    )
    assert (config.network, config.subnet_len) == (IPv4Network("10.3.0.0/16"), 25)
    assert config.backend == VxlanBackend(vni=7, port=4789, mtu=9000, learning=True, direct_routing=True)


def test_null_leaves_defaults() -> None:
    config = parse(
        Network="10.3.0.0/16", EnableIPv4=None, SubnetLen=None, SubnetMin=None, EnableNFTables=True
    )
    assert (config.subnet_len, config.enable_ipv4, config.enable_nftables) == (24, True, True)
    assert config.backend == VxlanBackend(vni=1, port=8472, mtu=None)


MEMBERS = [
    "Network",
    "IPv6Network",
    "SubnetLen",
    "IPv6SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
    "EnableIPv4",
    "EnableIPv6",
    "Backend",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.integers(0, 130),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["10.3.0.0/16", "fc00::/48", "10.3.1.0", "fc00:0:0:1::", "0.0.0.0/0", "::/0"]),
    st.just({"Type": "vxlan"}),
    st.dictionaries(
        st.sampled_from(["Type", "VNI", "Port", "MTU", "GBP"]), st.integers() | st.text(max_size=8)
    ),
)


def parse_or_refuse(text: str | bytes) -> None:
    with contextlib.suppress(ConfigError):
        config = parse_network_config(text)
        assert config.enable_ipv4 or config.enable_ipv6


@given(st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_any_members_give_a_config_or_a_config_error(members: dict[str, object]) -> None:
    parse_or_refuse(json.dumps(members))


@given(st.text() | st.binary())
def test_any_text_gives_a_config_or_a_config_error(text: str | bytes) -> None:
    parse_or_refuse(text)
