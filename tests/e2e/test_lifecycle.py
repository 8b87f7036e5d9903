"""The agent stops, dies, restarts, is upgraded, loses its store or its lease: packets flow on."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from e2e.clusters import facts, ready, run_in, unharmed, until, warm
from e2e.daemons import TOP, daemon, etcdctl

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.errors import EXIT_FAULT, EXIT_OK
from xdpflannel.leases.endpoints import EtcdOptions
from xdpflannel.leases.etcd import EtcdStore
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac

KEYS = "/coreos.com/network/subnets"
SOON = 5.0


@pytest.fixture(scope="module", autouse=True)
def _objects():
    subprocess.run(["make", "-s", "-C", TOP / "bpf"], check=True)


@pytest.fixture
def cluster(new_lab):
    built = new_lab(nodes=2, pods=1)
    warm(built)
    return built


def all_programs():
    done = subprocess.run(["bpftool", "-j", "prog"], capture_output=True, text=True, check=True)
    return {program["id"] for program in json.loads(done.stdout)}


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_stop_and_start(cluster, kill):
    netns = cluster.node(1).netns
    before = facts(netns)
    with unharmed(cluster) as traffic:
        lab.stop_node(cluster, 1, kill=kill)
        traffic.go_on(500)
        assert facts(netns) == before
        lab.start_node(cluster, 1)
        traffic.go_on(300)
    after = facts(netns)
    assert after["maps"] == before["maps"]
    assert after["links"] == before["links"]
    assert not set(after["programs"].values()) & set(before["programs"].values())
    assert set(after["runs"].values()) == set(after["programs"].values())
    assert not set(before["programs"].values()) & all_programs()
    assert lab.node_state(cluster, 1).lease.subnet == str(cluster.node(1).subnet)


def test_sigterm_ends_well_and_at_once(cluster, tmp_path):
    lab.stop_node(cluster, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        with daemon(cluster, 1, tmp_path / "log") as running:
            ready(cluster, 1)
            assert running.end(number) == EXIT_OK
            assert running.events("agent.stopped")


def test_many_restarts(cluster):
    """Every node in turn, again and again: nothing is lost and nothing piles up."""
    programs = len(all_programs())
    with unharmed(cluster):
        for round_ in range(3):
            for number in (1, 2):
                lab.stop_node(cluster, number, kill=round_ % 2 == 1)
                lab.start_node(cluster, number)
    until(lambda: len(all_programs()) == programs, "the programs of former runs gone")


@pytest.mark.parametrize("loader", ["bcc", "libbpf"])
def test_loader_switch(new_lab, loader, tmp_path):
    other = "libbpf" if loader == "bcc" else "bcc"
    cluster = new_lab(nodes=2, pods=1, loader=other)
    warm(cluster)
    assert lab.node_state(cluster, 1).loader == other
    before = facts(cluster.node(1).netns)
    with unharmed(cluster) as traffic:
        lab.stop_node(cluster, 1)
        with daemon(cluster, 1, tmp_path / "log", f"--loader={loader}") as running:
            assert ready(cluster, 1).loader == loader
            traffic.go_on(300)
            after = facts(cluster.node(1).netns)
            assert running.end() == EXIT_OK
    assert after["maps"] == before["maps"]
    assert after["links"] == before["links"]
    assert after["programs"] != before["programs"]


@pytest.mark.parametrize("datapath", ["tc", "xdp"])
def test_datapath_switch(cluster, datapath, tmp_path):
    """What the former choice attached and the new one does not want comes off."""
    with unharmed(cluster, share_of_fast=0.0) as traffic:
        lab.stop_node(cluster, 1)
        with daemon(cluster, 1, tmp_path / "log", f"--datapath={datapath}") as running:
            found = ready(cluster, 1)
            traffic.go_on(300)
            assert {it.program for it in found.attachments} == set(found.datapath)
            links = [
                path.name.partition("-")[0] for path in (pins.find(cluster.node(1).netns) / "links").iterdir()
            ]
            assert sorted(links) == sorted(found.datapath)
            running.end()


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_upgrade_to_another_abi(new_lab, datapath):
    """What a version with other maps left attached goes away once the new one works."""
    cluster = new_lab(nodes=2, pods=1, datapath=datapath)
    warm(cluster)
    netns = cluster.node(1).netns
    now = pins.find(netns)
    with unharmed(cluster, share_of_fast=0.5) as traffic:
        lab.stop_node(cluster, 1)
        now.rename(now.with_name("0123456789ab"))
        lab.start_node(cluster, 1)
        traffic.go_on(300)
        until(lambda: pins.every_abi(netns) == [now], "the old version's pins gone", seconds=SOON)
        assert ready(cluster, 1)


def test_etcd_is_away_for_a_while(cluster):
    with unharmed(cluster) as traffic:
        lab.stop_etcd(cluster)
        until(lambda: not lab.node_state(cluster, 1).store.up, "the store known to be down")
        state = lab.node_state(cluster, 1)
        assert state.ready
        assert state.counts.routes == 1
        assert state.store.detail
        traffic.go_on(300)
        lab.start_etcd(cluster)
        put(cluster, "10.244.250.0/24")
        until(lambda: "10.244.250.0/24" in routes(cluster), "a lease put after etcd was back")
        until(lambda: lab.node_state(cluster, 1).store.up, "the store known to be up")


def test_a_lease_changes_while_the_store_cannot_be_reached(cluster):
    netns = cluster.node(1).netns
    put(cluster, "10.244.250.0/24")
    until(lambda: "10.244.250.0/24" in routes(cluster), "the lease")
    with unharmed(cluster):
        run_in(netns, "ip", "link", "set", "mgmt0", "down")
        etcdctl(cluster, "del", f"{KEYS}/10.244.250.0-24")
        put(cluster, "10.244.251.0/24")
        run_in(netns, "ip", "link", "set", "mgmt0", "up")
        until(lambda: "10.244.251.0/24" in routes(cluster), "the new lease")
        until(lambda: "10.244.250.0/24" not in routes(cluster), "the end of the old lease")


def test_an_agent_starts_while_the_store_is_away(cluster):
    """A crash during an outage: the data plane forwards with what it has until the store is back."""
    netns = cluster.node(1).netns
    before = facts(netns)
    with unharmed(cluster) as traffic:
        lab.stop_etcd(cluster)
        lab.stop_node(cluster, 1, kill=True)
        lab.start_node(cluster, 1, wait=False)
        until(lambda: "store.awaited" in lab.node_log(cluster, 1).read_text(), "the agent waiting")
        traffic.go_on(300)
        assert len(routes(cluster)) == 1
        lab.start_etcd(cluster)
        ready(cluster, 1)
    assert facts(netns)["maps"] == before["maps"]


def put(cluster, subnet):
    attributes = LeaseAttributes(
        public_ip=cluster.node(2).underlay_ip,
        public_ip6=None,
        backend_type="vxlan",
        vtep=Vtep(Mac.parse("02:00:00:00:01:01"), 1),
    )
    with contextlib.closing(EtcdStore(EtcdOptions(endpoints=(cluster.etcd,)))) as store:
        store.overwrite(Lease(SubnetKey(IPv4Network(subnet)), attributes), 300)


def routes(cluster, number=1):
    with Tables.open(pins.find(cluster.node(number).netns)) as tables:
        return {str(subnet) for subnet in tables.routes()}


@pytest.mark.parametrize("how", ["deleted", "taken"])
def test_the_own_lease_is_lost(cluster, how, tmp_path):
    """The agent says so and ends by a failure; what it loaded forwards on, and a restart takes a lease."""
    node = cluster.node(1)
    entry = f"{KEYS}/{str(node.subnet).replace('/', '-')}"
    # The other node would obey and drop its route; dead, it forwards by what it knew.
    lab.stop_node(cluster, 2)
    lab.stop_node(cluster, 1)
    with daemon(cluster, 1, tmp_path / "log") as running:
        ready(cluster, 1)
        before = facts(node.netns)
        with unharmed(cluster) as traffic:
            if how == "deleted":
                etcdctl(cluster, "del", entry)
            else:
                value = json.loads(etcdctl(cluster, "get", entry, "--print-value-only"))
                etcdctl(cluster, "put", entry, json.dumps({**value, "PublicIP": "192.0.2.99"}))
            assert running.process.wait(10) == EXIT_FAULT
            traffic.go_on(300)
        (said,) = running.events("lease.lost")
        assert str(node.subnet) in said["error"]
        assert said["hint"]
        assert facts(node.netns) == before
    with daemon(cluster, 1, tmp_path / "log"):
        found = ready(cluster, 1)
        assert (found.lease.subnet == str(node.subnet)) is (how == "deleted")


@pytest.mark.parametrize("loader", ["bcc", "libbpf"])
def test_memory(new_lab, loader):
    cluster = new_lab(nodes=2, pods=2, loader=loader)
    warm(cluster)
    status = Path(f"/proc/{lab.node_pid(cluster, 1)}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    assert peak <= 70 * 1024, f"{peak} KiB"
