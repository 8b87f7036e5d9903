"""What a running node tells: Prometheus, health, and the commands' JSON, all of one mind with the maps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.clusters import ping, pods, run_in, until, warm
from e2e.daemons import xdpflannel
from prometheus_client.parser import text_string_to_metric_families

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.errors import EXIT_DEGRADED, EXIT_OK
from xdpflannel.model.verdict import Verdict


@pytest.fixture
def cluster(new_lab):
    built = new_lab(nodes=2, pods=2)
    warm(built)
    ping(pods(built)[0], pods(built)[2].ip, count=50)
    return built


def document(netns, *command):
    ended = xdpflannel(netns, *command, "--instance", netns, "-o", "json")
    assert ended.status == EXIT_OK, ended.said
    return json.loads(ended.out)


def test_metrics(cluster):
    node = cluster.node(1)
    with Tables.open(pins.find(node.netns)) as tables:
        before = tables.counters()
        text = run_in(node.netns, "curl", "-sS", "--fail", node.metrics)
        after = tables.counters()
        held = {"routes": len(tables.routes()), "pods": len(tables.pods())}
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(family.documentation for family in families.values())
    used = set()
    for name, field in (("xdpflannel_packets", "packets"), ("xdpflannel_bytes", "bytes")):
        told = {
            (it.labels["program"], it.labels["verdict"], it.labels["class"]): it.value
            for it in families[name].samples
        }
        for (program, verdict), counter in before.items():
            if (program.label, verdict.label, verdict.kind.value) in told:
                value = told[program.label, verdict.label, verdict.kind.value]
                assert getattr(counter, field) <= value <= getattr(after[program, verdict], field)
                used.add(program.label)
        assert len(told) == len(used) * len(Verdict)
        assert told["pod_egress", "encapsulated", "fast"] >= 50
    assert used == {"pod_egress", "uplink_ingress"}
    values = {name: family.samples[0].value for name, family in families.items() if family.samples}
    assert values["xdpflannel_routes"] == held["routes"] == 1
    assert values["xdpflannel_pods"] == held["pods"] == 2
    assert values["xdpflannel_ready"] == values["xdpflannel_store_up"] == 1
    attached = {
        (it.labels["program"], it.labels["interface"]) for it in families["xdpflannel_program_info"].samples
    }
    assert attached == {("uplink_ingress", "eth0"), ("pod_egress", "veth1"), ("pod_egress", "veth2")}


def test_names_of_metrics(cluster):
    """By Prometheus' own rules: counters, and only they, end in _total."""
    text = run_in(cluster.node(1).netns, "curl", "-sS", cluster.node(1).metrics)
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name


@pytest.mark.parametrize("path", ["livez", "readyz", "healthz"])
def test_health(cluster, path):
    base = cluster.node(1).metrics.removesuffix("metrics")
    run_in(cluster.node(1).netns, "curl", "-sS", "--fail", f"{base}{path}")


def test_status(cluster):
    node = cluster.node(1)
    found = document(node.netns, "status")
    assert found["ready"] is True
    assert found["pid"] == lab.node_pid(cluster, 1)
    assert found["lease"]["subnet"] == str(node.subnet)
    assert found["uplink"]["public_ip"] == str(node.underlay_ip)
    assert {it["program"] for it in found["attachments"]} == {"pod_egress", "uplink_ingress"}
    ended = xdpflannel(node.netns, "status", "--instance", node.netns)
    assert "uplink_ingress" in ended.out
    lab.stop_etcd(cluster)
    ended = until(lambda: degraded(node), "status 3")
    assert "DOWN" in ended.out
    lab.stop_node(cluster, 1)
    ended = xdpflannel(node.netns, "status", "--instance", node.netns)
    assert ended.status == EXIT_DEGRADED
    assert "still forwards" in ended.said
    assert document(node.netns, "routes")["routes"]


def degraded(node):
    ended = xdpflannel(node.netns, "status", "--instance", node.netns)
    return ended if ended.status == EXIT_DEGRADED else None


def test_tables(cluster):
    node, peer = cluster.nodes
    found = {name: document(node.netns, name) for name in ("leases", "routes", "pods", "counters")}
    leases = {it["subnet"]: it for it in found["leases"]["leases"]}
    assert set(leases) == {str(node.subnet), str(peer.subnet)}
    assert leases[str(node.subnet)]["own"] is True
    assert leases[str(peer.subnet)]["public_ip"] == str(peer.underlay_ip)
    (route,) = found["routes"]["routes"]
    assert route["subnet"] == str(peer.subnet)
    assert route["vtep"] == str(peer.underlay_ip)
    assert route["vtep_mac"] == leases[str(peer.subnet)]["vtep_mac"]
    assert route["interface"] == "eth0"
    assert {it["ip"] for it in found["pods"]["pods"]} == {str(pod.ip) for pod in node.pods}
    assert {it["interface"] for it in found["pods"]["pods"]} == {"veth1", "veth2"}
    counters = {(it["program"], it["verdict"]): it["packets"] for it in found["counters"]["counters"]}
    assert counters["pod_egress", "encapsulated"] >= 50
    assert found["counters"]["fast_path_share"] > 0.5


def test_the_command_line_in_a_pipe(cluster):
    """A reader that has seen enough is no reason to complain."""
    netns = cluster.node(1).netns
    program = Path(sys.executable).with_name("xdpflannel")
    line = f"nsenter --net=/run/netns/{netns} {program} counters --all --instance {netns} | head -n1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout
    assert done.stderr == ""
