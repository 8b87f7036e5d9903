"""`xdpflannel uninstall` takes away everything that the agent ever made, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.clusters import facts, run_in, serving, unharmed, until, visit, warm
from e2e.daemons import continuing, programs, xdpflannel

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.objects import Link
from xdpflannel.errors import EXIT_FAULT, EXIT_OK
from xdpflannel.host.namespace import call_inside


def uninstall(netns, *options):
    ended = xdpflannel(netns, "uninstall", "--instance", netns, *options)
    assert ended.status == EXIT_OK, ended.said
    return ended


def network(netns):
    """Everything about a namespace's network that we could touch."""
    shown = ("ip -4 -br addr show", "ip -4 route show table all", "tc qdisc show", "bridge fdb show")
    return {line: sorted(run_in(netns, *line.split()).splitlines()) for line in shown} | {
        "programs": programs(netns)
    }


def ours(netns):
    """Whatever of an instance is left."""
    links = json.loads(run_in(netns, "ip", "-j", "link", "show"))
    return (
        [link["ifname"] for link in links if link["ifname"].startswith("flannel")]
        + programs(netns)
        + pins.every_abi(netns)
        + [
            path
            for path in (pins.BPFFS / "xdpflannel" / netns, Path("/run/xdpflannel", netns))
            if path.exists()
        ]
        + ([qdisc] if "clsact" in (qdisc := run_in(netns, "tc", "qdisc", "show")) else [])
    )


@pytest.mark.parametrize("datapath", ["auto", "xdp", "kernel"])
def test_no_trace_is_left_and_a_new_start_works(new_lab, datapath):
    cluster = new_lab(nodes=2, pods=2, datapath=datapath)
    node, peer = cluster.nodes
    if datapath != "kernel":
        warm(cluster)
    lab.stop_node(cluster, 1)
    said = uninstall(node.netns).out.splitlines()
    assert ours(node.netns) == []
    assert not lab.subnet_file(cluster, 1).exists()
    assert "interface flannel.1, with its addresses, neighbours and routes" in said
    assert str(lab.subnet_file(cluster, 1)) in said
    run_in(node.pods[0].netns, "ping", "-c", 1, "-W", 1, node.pods[1].ip)
    with pytest.raises(AssertionError, match=r"100% packet loss|Unreachable"):
        run_in(node.pods[0].netns, "ping", "-c", 2, "-W", 1, "-i", "0.1", peer.pods[0].ip)
    assert ours(peer.netns)
    lab.start_node(cluster, 1)
    assert lab.node_state(cluster, 1).lease.subnet == str(node.subnet)
    with serving(cluster):
        visit(node.pods[0], peer.pods, size=100_000, sizes=(1, 1400))


def test_dry_run_says_the_same_and_changes_nothing(new_lab):
    cluster = new_lab(nodes=2, pods=1)
    warm(cluster)
    netns = cluster.node(1).netns
    lab.stop_node(cluster, 1)
    run_dir = Path("/run/xdpflannel", netns)
    before = network(netns), facts(netns), sorted(run_dir.iterdir())
    with unharmed(cluster):
        planned = uninstall(netns, "--dry-run")
    assert network(netns) == before[0]
    assert (facts(netns), sorted(run_dir.iterdir())) == before[1:]
    assert "nothing was removed" in planned.said
    done = uninstall(netns)
    assert done.out == planned.out
    assert done.said == ""


def test_an_instance_that_is_not_there(new_lab):
    cluster = new_lab(nodes=1, pods=1)
    netns = cluster.node(1).netns
    before = network(netns), facts(netns)
    for options in ((), ("--dry-run",)):
        ended = xdpflannel(netns, "uninstall", "--instance", "nobody", *options)
        assert ended.status == EXIT_OK
        assert ended.out == ""
        assert ended.said == "nothing of instance nobody is here\n"
    assert (network(netns), facts(netns)) == before
    assert not Path("/sys/fs/bpf/xdpflannel/nobody").exists()
    assert not Path("/run/xdpflannel/nobody").exists()


def test_not_while_the_agent_runs(new_lab):
    cluster = new_lab(nodes=1, pods=1)
    netns = cluster.node(1).netns
    before = facts(netns)
    ended = xdpflannel(netns, "uninstall", "--instance", netns)
    assert ended.status == EXIT_FAULT
    assert f"process {lab.node_pid(cluster, 1)}" in ended.said
    assert "stop it" in ended.said
    assert facts(netns) == before
    assert lab.node_state(cluster, 1).ready


def test_from_another_network_namespace(new_lab):
    """A typo on a host that runs the same overlay must not cost it its own flannel.1."""
    cluster = new_lab(nodes=2, pods=1)
    warm(cluster)
    first, second = (node.netns for node in cluster.nodes)
    lab.stop_node(cluster, 1)
    before = run_in(second, "ip", "-j", "addr", "show", "dev", "flannel.1")
    ended = xdpflannel(second, "uninstall", "--instance", first)
    assert "flannel.1" not in ended.out
    assert run_in(second, "ip", "-j", "addr", "show", "dev", "flannel.1") == before
    assert facts(second)["links"]


@pytest.fixture
def foreign(new_lab):
    """A node whose uplink also carries others' programs: tcx, clsact; and a pin of theirs beside ours."""
    cluster = new_lab(nodes=2, pods=1)
    warm(cluster)
    netns = cluster.node(1).netns
    pinned = pins.BPFFS / f"{netns}-foreign"
    link = pins.BPFFS / f"{netns}-foreign-link"
    ifindex = lab.node_state(cluster, 1).uplink.ifindex
    with continuing() as nothing:
        nothing.pin(pinned)
        with call_inside(netns, lambda: Link.create(nothing, ifindex, Link.TCX_INGRESS)) as made:
            made.pin(link)
    run_in(netns, "tc", "qdisc", "add", "dev", "eth0", "clsact")
    run_in(netns, "tc", "filter", "add", "dev", "eth0", "egress", "bpf", "da", "pinned", pinned)
    yield cluster
    link.unlink()
    pinned.unlink()


def test_what_others_have_made_stays(foreign):
    node = foreign.node(1)
    folder = Path("/run/xdpflannel", node.netns)
    lab.stop_node(foreign, 1)
    (folder / "notes").write_text("somebody's own\n")
    uninstall(node.netns)
    left = programs(node.netns)
    assert [hook for hook, _, _ in left] == ["clsact/egress", "tcx/ingress"], left
    assert (pins.BPFFS / f"{node.netns}-foreign").exists()
    assert (folder / "notes").exists()
    assert sorted(folder.iterdir()) == [folder / "notes"]
    assert pins.every_abi(node.netns) == []
    (folder / "notes").unlink()
    lab.start_node(foreign, 1)


def test_after_a_start_that_got_nowhere(new_lab):
    """The device was made, then nobody had a subnet: it is known all the same."""
    cluster = new_lab(nodes=1, pods=0)
    netns = cluster.node(1).netns
    lab.stop_node(cluster, 1)
    uninstall(netns)
    lab.stop_etcd(cluster)
    lab.start_node(cluster, 1, wait=False)
    until(lambda: "store.awaited" in lab.node_log(cluster, 1).read_text(), "the agent waiting")
    lab.stop_node(cluster, 1, kill=True)
    assert ours(netns)
    uninstall(netns)
    assert ours(netns) == []
    lab.start_etcd(cluster)
