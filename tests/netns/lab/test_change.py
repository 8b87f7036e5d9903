"""Changing a running lab: pods, daemons, etcd."""

import subprocess

import pytest

from xdpflannel import lab
from xdpflannel.errors import LabError
from xdpflannel.host.namespace import exists


def pods_known(built, node):
    return lab.node_state(built, node).counts.pods


def test_pods_come_and_go(spec, eventually):
    built = lab.up(spec(nodes=1, pods=1))
    added = lab.add_pod(built, 1)
    assert added.ip == built.node(1).subnet[3]
    assert added.netns.endswith("-node1-pod2")
    eventually(lambda: pods_known(built, 1) == 2)
    lab.remove_pod(built, built.node(1).pods[0].netns)
    eventually(lambda: pods_known(built, 1) == 1)
    assert not exists(built.node(1).pods[0].netns)
    # The lowest free number is taken again.
    assert lab.add_pod(built, 1) == built.node(1).pods[0]
    assert [pod.netns for pod in lab.load(built.name).node(1).pods] == [
        added.netns,
        built.node(1).pods[0].netns,
    ]
    with pytest.raises(LabError, match="no pod"):
        lab.remove_pod(built, "nobody")


def test_daemons_stop_and_start(spec):
    built = lab.up(spec(nodes=2))
    for kill in (False, True):
        before = lab.node_pid(built, 1)
        lab.stop_node(built, 1, kill=kill)
        with pytest.raises(LabError, match="does not run"):
            lab.node_pid(built, 1)
        assert not lab.status(built).healthy
        lab.start_node(built, 1)
        assert lab.node_pid(built, 1) != before
        assert lab.load(built.name) == built
    with pytest.raises(LabError, match="runs already"):
        lab.start_node(built, 1)
    with pytest.raises(LabError, match="no node 9"):
        lab.stop_node(built, 9)
    assert lab.status(built).healthy


def test_etcd_stops_and_starts_with_its_data(spec, eventually):
    built = lab.up(spec(nodes=2))
    lab.stop_etcd(built)
    assert not lab.status(built).etcd_running
    lab.start_etcd(built)
    eventually(lambda: lab.status(built).healthy, seconds=20)
    assert lab.node_state(built, 1).counts.routes == 1


def test_commands_at_places(spec):
    built = lab.up(spec(nodes=1))
    for where, address in (("node1", "192.0.2.1"), ("node1-pod1", str(built.node(1).pods[0].ip))):
        for name in (where, f"{built.name}-{where}"):
            command = lab.command(built, name, ["--", "ip", "addr"])
            assert address in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with pytest.raises(LabError, match="no place node7") as caught:
        lab.command(built, "node7", ["true"])
    assert "node1-pod1" in caught.value.hint
