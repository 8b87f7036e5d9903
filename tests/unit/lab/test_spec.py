"""What can be asked for, and what is refused with a reason."""

import json
from ipaddress import IPv4Address, IPv4Network

import pytest

from xdpflannel.errors import ConfigError
from xdpflannel.lab import Lab, LabNode, LabPod, LabSpec, NodeKind
from xdpflannel.lab.etcd import network_config


def test_names():
    spec = LabSpec(name="try", nodes=2, pods=1)
    assert spec.namespaces() == ["try-net", "try-node1", "try-node2", "try-node1-pod1", "try-node2-pod1"]


@pytest.mark.parametrize("name", ["", "Lab", "a" * 17, "-a", "a-", "a_b", "a.b", "a/b", "ä", "../x"])
def test_bad_names(name):
    with pytest.raises(ConfigError, match="cannot be named") as caught:
        LabSpec(name=name)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a", "demo", "a-1", "0", "a" * 16])
def test_good_names(name):
    spec = LabSpec(name=name, nodes=250)
    assert len(spec.node_netns(250)) <= 32


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"nodes": 0}, "0 nodes"),
        ({"nodes": 251}, "251 nodes"),
        ({"pods": -1}, "-1 pods"),
        ({"pods": 201}, "201 pods"),
        ({"kernel_nodes": {3}}, "names node 3"),
        ({"mtu": 100}, "MTU of 100"),
        ({"mtu": 70000}, "MTU of 70000"),
        ({"network": "192.0.0.0/16"}, "overlaps 192.0.2.0/24"),
        ({"network": "198.51.100.0/24"}, "overlaps 198.51.100.0/24"),
    ],
    ids=str,
)
def test_impossible(wanted, said):
    with pytest.raises(ConfigError, match=said) as caught:
        LabSpec(**wanted)
    assert caught.value.hint


def test_kinds():
    spec = LabSpec(nodes=2, kernel_nodes={2})
    assert [spec.kind(number) for number in spec.numbers] == [NodeKind.XDPFLANNEL, NodeKind.KERNEL]
    assert LabSpec(nodes=2, datapath="kernel").kind(1) is NodeKind.KERNEL


def test_network_configuration():
    assert network_config(LabSpec()) == {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    spec = LabSpec(network="10.7.0.0/16", backend={"VNI": 7, "DirectRouting": True})
    assert network_config(spec)["Backend"] == {"Type": "vxlan", "VNI": 7, "DirectRouting": True}


def test_contract():
    pod = LabPod("try-node1-pod1", IPv4Address("10.244.9.2"))
    node = LabNode(
        name="node1",
        netns="try-node1",
        underlay_ip=IPv4Address("192.0.2.1"),
        subnet=IPv4Network("10.244.9.0/24"),
        metrics="http://127.0.0.1:9101/metrics",
        pods=(pod,),
    )
    document = Lab("try", (node,), "http://127.0.0.1:4711").to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["etcd"] == "http://127.0.0.1:4711"
    (found,) = document["nodes"]
    assert {"name", "netns", "underlay_ip", "subnet", "metrics", "pods"} <= set(found)
    assert found["pods"] == [{"netns": "try-node1-pod1", "ip": "10.244.9.2"}]
