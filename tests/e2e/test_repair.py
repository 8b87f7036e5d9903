"""Somebody changes what the agent has set up: it is put back, and packets flow meanwhile."""

from __future__ import annotations

import pytest
from e2e.clusters import facts, ready, run_in, unharmed, until, warm
from e2e.daemons import programs

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables

SOON = 5.0
RECONCILED = 45.0
"""Seconds; the agent compares with the kernel every 30."""


@pytest.fixture
def cluster(new_lab):
    built = new_lab(nodes=2, pods=1)
    warm(built)
    return built


def kernel_entries(netns):
    """Routes, neighbours and forwarding entries of flannel.1."""
    routes = run_in(netns, "ip", "-4", "route", "show", "dev", "flannel.1").split("\n")
    neighbours = run_in(netns, "ip", "neigh", "show", "dev", "flannel.1", "nud", "permanent").split("\n")
    forwarding = run_in(netns, "bridge", "fdb", "show", "dev", "flannel.1").split("\n")
    return [sorted(line.strip() for line in lines) for lines in (routes, neighbours, forwarding)]


@pytest.mark.parametrize(
    "change",
    [
        "ip link del flannel.1",
        "ip link set flannel.1 down",
        "ip addr flush dev flannel.1",
        "ip link set flannel.1 mtu 1300",
        "ip route del {subnet} dev flannel.1",
        "ip route flush dev flannel.1",
        "ip neigh del {gateway} dev flannel.1",
        "bridge fdb del {mac} dev flannel.1 dst {public_ip} self",
        "ip neigh replace {gateway} lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
    ],
)
def test_at_once(cluster, change):
    node, peer = cluster.nodes
    before = kernel_entries(node.netns)
    mac = lab.node_state(cluster, 2).device.mac
    change = change.format(subnet=peer.subnet, gateway=peer.subnet[0], mac=mac, public_ip=peer.underlay_ip)
    with unharmed(cluster):
        run_in(node.netns, *change.split())
        until(lambda: kernel_entries(node.netns) == before, f"{before} after {change}", seconds=SOON)


def test_what_no_event_tells(cluster):
    """Maps and attached programs change silently: the kernel's path serves until the next comparison."""
    node, peer = cluster.nodes
    attached = programs(node.netns)
    links = sorted(facts(node.netns)["links"])
    with unharmed(cluster, share_of_fast=0.0), Tables.open(pins.find(node.netns)) as tables:
        held = (tables.config(), tables.routes(), tables.pods(), tables.vteps())
        tables.delete_route(peer.subnet)
        tables.delete_pod(node.pods[0].ip)
        tables.delete_vtep(peer.underlay_ip)
        tables.clear_config()
        for name in links:
            (pins.find(node.netns) / "links" / name).unlink()
        assert programs(node.netns) == []
        until(
            lambda: (tables.config(), tables.routes(), tables.pods(), tables.vteps()) == held,
            "the maps",
            seconds=RECONCILED,
        )
        until(lambda: sorted(facts(node.netns)["links"]) == links, "the links", seconds=SOON)
        assert len(programs(node.netns)) == len(attached)
        assert ready(cluster, 1)
    said = lab.node_log(cluster, 1).read_text()
    assert "drift.found" in said
    assert "program.lost" in said
    with unharmed(cluster):
        pass


def test_stray_entries_of_a_former_life_go(cluster):
    """A lease that ended while no agent ran."""
    node = cluster.node(1)
    before = kernel_entries(node.netns)
    lab.stop_node(cluster, 1)
    for line in (
        "ip neigh add 10.244.254.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
        "bridge fdb append 02:00:00:00:00:99 dev flannel.1 dst 192.0.2.99 self permanent",
        "ip route add 10.244.254.0/24 via 10.244.254.0 dev flannel.1 onlink",
    ):
        run_in(node.netns, *line.split())
    with unharmed(cluster):
        lab.start_node(cluster, 1)
        until(lambda: kernel_entries(node.netns) == before, "the strays gone", seconds=SOON)
