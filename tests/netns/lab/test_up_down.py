"""A lab comes up as its contract says, with real etcd and real daemons, and leaves nothing."""

import http.client
import json
import os
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from xdpflannel import lab
from xdpflannel.errors import LabError
from xdpflannel.host.namespace import call_inside, exists


def bound(netns, address, *, kind=socket.SOCK_DGRAM):
    def opened():
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(5)
        made.bind((str(address), 0))
        return made

    return call_inside(netns, opened)


def assert_talk(pods):
    """A datagram of every pod to every other arrives with the sender's own address."""
    sockets = {pod.ip: bound(pod.netns, pod.ip) for pod in pods}
    try:
        for source, sender in sockets.items():
            for target, receiver in sockets.items():
                sender.sendto(b"hello", (str(target), receiver.getsockname()[1]))
                assert receiver.recvfrom(64) == (b"hello", (str(source), sender.getsockname()[1]))
    finally:
        for one in sockets.values():
            one.close()


def get(url, netns=None):
    parts = urlsplit(url)

    def ask():
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
        try:
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return call_inside(netns, ask)


def test_two_nodes_by_the_contract(spec, lab_name):
    built = lab.up(spec(nodes=2, pods=2))
    document = json.loads(json.dumps(built.to_json()))
    assert [node["netns"] for node in document["nodes"]] == [f"{lab_name}-node1", f"{lab_name}-node2"]
    for number, node in enumerate(document["nodes"], start=1):
        assert node["underlay_ip"] == f"192.0.2.{number}"
        subnet = IPv4Network(node["subnet"])
        expected = [
            {"netns": f"{lab_name}-node{number}-pod{pod}", "ip": str(subnet[pod + 1])} for pod in (1, 2)
        ]
        assert node["pods"] == expected
        status, text = get(node["metrics"], node["netns"])
        assert status == 200
        assert "xdpflannel" in text
    assert get(f"{document['etcd']}/health") == (200, '{"health":"true"}')
    assert_talk([pod for node in built.nodes for pod in node.pods])
    status = lab.status(built)
    assert status.healthy
    assert lab.load(lab_name) == built
    assert lab_name in lab.names()
    lab.down(lab_name)
    assert lab_name not in lab.names()
    with pytest.raises(LabError, match=f"no lab {lab_name}"):
        lab.down(lab_name)


def test_each_node_is_a_host(spec, namespace):
    """Interfaces, addresses, MTUs and forwarding as on a machine with the CNI plugins."""
    built = lab.up(spec(nodes=2, mtu=9000))
    node = built.node(1)
    inside = type(namespace)(node.netns)
    assert "inet 192.0.2.1/24" in inside.ip("addr show eth0")
    assert " mtu 9000 " in inside.ip("link show eth0")
    assert " mtu 8950 " in inside.ip("link show flannel.1")
    assert f"inet {node.subnet[1]}/24" in inside.ip("addr show cni0")
    assert " mtu 8950 " in inside.ip("link show cni0")
    assert "LOWER_UP" in inside.ip("link show lo")
    assert inside.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    pod = type(namespace)(node.pods[0].netns)
    assert " mtu 8950 " in pod.ip("link show eth0")
    assert f"default via {node.subnet[1]} dev eth0" in pod.ip("route show")
    assert f"FLANNEL_SUBNET={node.subnet[1]}/24" in lab.subnet_file(built, 1).read_text()
    assert "agent.started" in lab.node_log(built, 1).read_text()


def test_mixed_cluster_on_a_bridged_underlay(spec):
    built = lab.up(spec(nodes=3, pods=1, datapath="auto", bypass="stateless", kernel_nodes={2}))
    assert [node.kind.value for node in built.nodes] == ["xdpflannel", "kernel", "xdpflannel"]
    assert [bool(node.agent.datapath) for node in lab.status(built).nodes] == [True, False, True]
    assert_talk([pod for node in built.nodes for pod in node.pods])


def test_xdp_prepares_pods_and_wires(spec):
    built = lab.up(spec(nodes=2, datapath="xdp", bypass="stateless"))
    pod = lab.offloads(built.node(1).pods[0].netns, "eth0")
    assert not pod["tx-checksumming"]
    assert pod["generic-receive-offload"]
    assert lab.offloads(built.node(1).netns, "eth0")["generic-receive-offload"]


def test_other_datapaths_leave_offloads_alone(spec):
    built = lab.up(spec(nodes=1))
    pod = lab.offloads(built.node(1).pods[0].netns, "eth0")
    assert pod["tx-checksumming"]
    assert not pod["generic-receive-offload"]


def test_other_network_and_backend_options(spec):
    built = lab.up(spec(nodes=2, network="10.7.0.0/20", backend={"VNI": 7, "Port": 4789}))
    assert all(node.subnet.subnet_of(IPv4Network("10.7.0.0/20")) for node in built.nodes)
    device = lab.node_state(built, 1).device
    assert (device.name, device.vni, device.port) == ("flannel.7", 7, 4789)
    assert_talk([node.pods[0] for node in built.nodes])


def test_a_name_is_given_once(spec, lab_name):
    built = lab.up(spec(nodes=1, pods=0))
    with pytest.raises(LabError):
        lab.up(spec(nodes=1, pods=0))
    assert lab.status(lab_name).healthy
    assert lab.load(lab_name) == built


def test_a_foreign_namespace_is_refused_and_kept(spec, lab_name, make_namespace):
    foreign = make_namespace(f"{lab_name}-node2")
    with pytest.raises(LabError, match=f"{foreign.name} exists") as caught:
        lab.up(spec(nodes=2))
    assert caught.value.hint
    assert "lo" in foreign.ip("link show")
    assert not exists(f"{lab_name}-node1")
    assert lab_name not in lab.names()


@pytest.mark.parametrize(
    ("script", "patience", "said"),
    [("echo no such thing; exit 3", 60, "ended"), ("echo still waiting; exec sleep 1000", 5, "in time")],
)
def test_a_daemon_that_does_not_get_ready(spec, lab_name, script, patience, said):
    with pytest.raises(LabError) as caught:
        lab.up(spec(nodes=2), daemon=("/bin/sh", "-c", script), ready_seconds=patience)
    assert said in str(caught.value)
    assert script.split(";")[0].removeprefix("echo ") in str(caught.value)
    assert lab_name not in lab.names()


def test_interrupted(spec, lab_name):
    def interrupt(step):
        if "nodes" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.up(spec(nodes=2), progress=interrupt)
    assert lab_name not in lab.names()


def test_environment_does_not_leak_in(spec, monkeypatch):
    monkeypatch.setenv("FLANNELD_ETCD_PREFIX", "/somewhere/else")
    monkeypatch.setenv("http_proxy", "http://192.0.2.99:3128")
    monkeypatch.setenv("ETCD_NAME", "other")
    built = lab.up(spec(nodes=1, pods=0))
    environment = Path(f"/proc/{lab.node_pid(built, 1)}/environ").read_bytes()
    assert b"proxy" not in environment
    assert os.environ["http_proxy"]


def test_addresses_of_many_pods(spec):
    built = lab.up(spec(nodes=1, pods=12))
    ips = [pod.ip for pod in built.node(1).pods]
    assert ips == [IPv4Address(built.node(1).subnet[number]) for number in range(2, 14)]
