"""What `--datapath` chooses, and that it says why."""

from ipaddress import IPv4Address

import pytest

from xdpflannel.agent.datapath import choose
from xdpflannel.agent.settings import Datapath
from xdpflannel.dataplane.abi import Program
from xdpflannel.model.host import Uplink
from xdpflannel.model.net import Mac

NATIVE = 1 | 2 | 4


def uplink(driver):
    ip = IPv4Address("192.0.2.1")
    return Uplink("eth0", 2, Mac(b"\2\0\0\0\0\1"), 1500, ip, ip, driver)


@pytest.mark.parametrize(
    ("wanted", "driver", "features", "pod", "ports"),
    [
        ("kernel", "mlx5_core", NATIVE, (), ()),
        ("tc", "mlx5_core", NATIVE, (Program.POD_EGRESS,), (Program.UPLINK_INGRESS,)),
        ("xdp", "mlx5_core", NATIVE, (Program.XDP_POD,), (Program.XDP_UPLINK,)),
        ("xdp", "mlx5_core", 1 | 2, (Program.POD_EGRESS,), (Program.XDP_UPLINK,)),
        ("xdp", "e1000", None, (Program.POD_EGRESS,), (Program.XDP_UPLINK,)),
        ("auto", "veth", NATIVE, (Program.POD_EGRESS,), (Program.UPLINK_INGRESS,)),
        ("auto", "e1000", 0, (Program.POD_EGRESS,), (Program.UPLINK_INGRESS,)),
        ("auto", "e1000", None, (Program.POD_EGRESS,), (Program.UPLINK_INGRESS,)),
        ("auto", "ice", NATIVE, (Program.POD_EGRESS,), (Program.UPLINK_INGRESS, Program.XDP_UPLINK)),
    ],
)
def test_choice(wanted, driver, features, pod, ports):
    choice = choose(Datapath(wanted), uplink(driver), features)
    assert (choice.pod, choice.uplink) == (pod, ports)
    assert choice.reasons
    assert choice.xdp_takes_tcp == (wanted == "xdp")


def test_auto_never_attaches_xdp_to_a_veth_and_says_so():
    choice = choose(Datapath.AUTO, uplink("veth"), NATIVE)
    assert any("veth" in reason for reason in choice.reasons)
