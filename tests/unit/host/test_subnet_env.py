"""subnet.env is flannel's to the byte, and read by flannel's rules."""

from ipaddress import IPv4Network, IPv6Network
from stat import S_IMODE

import pytest

from xdpflannel.errors import HostError
from xdpflannel.host.subnet_env import (
    SubnetEnv,
    read_networks,
    read_previous_subnet,
    read_subnet_env,
    write_subnet_env,
)
from xdpflannel.model.lease import SubnetKey

DUAL = SubnetEnv(
    network=IPv4Network("10.5.0.0/16"),
    subnet=IPv4Network("10.5.52.0/24"),
    mtu=1450,
    network6=IPv6Network("fd00:12::/48"),
    subnet6=IPv6Network("fd00:12:0:5::/64"),
)
DUAL_TEXT = """\
FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.52.1/24
FLANNEL_IPV6_NETWORK=fd00:12::/48
FLANNEL_IPV6_SUBNET=fd00:12:0:5::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
"""


def test_bytes_and_modes(tmp_path):
    path = tmp_path / "flannel" / "subnet.env"
    write_subnet_env(path, DUAL)
    assert path.read_text() == DUAL_TEXT
    assert S_IMODE(path.stat().st_mode) == 0o644
    assert S_IMODE(path.parent.stat().st_mode) == 0o755
    assert [found.name for found in path.parent.iterdir()] == ["subnet.env"]


def test_one_family(tmp_path):
    path = tmp_path / "subnet.env"
    env = SubnetEnv(IPv4Network("10.1.0.0/16"), IPv4Network("10.1.17.0/24"), 1472, ipmasq=True)
    write_subnet_env(path, env)
    assert path.read_text() == (
        "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n"
    )
    assert read_subnet_env(path) == env


def test_written_at_once(tmp_path):
    """A reader that has it open keeps the old one whole."""
    path = tmp_path / "subnet.env"
    path.write_text("old\n")
    with path.open() as reader:
        write_subnet_env(path, DUAL)
        assert reader.read() == "old\n"
    assert read_subnet_env(path) == DUAL


def test_read_back(tmp_path):
    path = tmp_path / "subnet.env"
    write_subnet_env(path, DUAL)
    assert read_subnet_env(path) == DUAL
    assert read_previous_subnet(path) == SubnetKey(DUAL.subnet, DUAL.subnet6)


@pytest.mark.parametrize(
    ("variable", "text", "networks"),
    [
        ("FLANNEL_SUBNET", "10.244.1.0/24,not-a-cidr,10.244.2.0/24", ["10.244.1.0/24", "10.244.2.0/24"]),
        ("FLANNEL_IPV6_SUBNET", "fd00::/64,not-a-cidr,fd01::/64", ["fd00::/64", "fd01::/64"]),
        ("FLANNEL_SUBNET", "not-a-cidr", []),
        ("FLANNEL_SUBNET", "10.244.1.1/24", ["10.244.1.0/24"]),
        ("FLANNEL_SUBNET", "10.244.1.1", []),
        ("FLANNEL_SUBNET", "", []),
    ],
)
def test_reading_rules(tmp_path, variable, text, networks):
    path = tmp_path / "subnet.env"
    path.write_text(f"{variable}={text}\n")
    found = read_networks(path, variable)
    assert [str(network) for network in found] == networks
    previous = read_previous_subnet(path)
    assert (previous is not None) == (len(networks) == 1)


@pytest.mark.parametrize(
    "text", ["", "FLANNEL_SUBNET=10.1.1.1/24\n", "\0\xff garbage\n", "FLANNEL_MTU=1450\n"]
)
def test_incomplete_is_none(tmp_path, text):
    path = tmp_path / "subnet.env"
    path.write_text(text)
    assert read_subnet_env(path) is None


def test_missing_is_none(tmp_path):
    assert read_subnet_env(tmp_path / "none") is None
    assert read_previous_subnet(tmp_path / "none") is None


def test_cannot_be_written_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"file/subnet\.env"):
        write_subnet_env(tmp_path / "file" / "subnet.env", DUAL)
