"""Behind a ClusterIP: flow proof keeps NAT whole, while flows without NAT stay fast."""

import pytest
from e2e.clusters import counters, growth, pods, run_in, serving, share, visit, warm

from xdpflannel import lab
from xdpflannel.agent.conntrack import SETTING
from xdpflannel.agent.uninstall import uninstall
from xdpflannel.host import sysctl
from xdpflannel.host.namespace import call_inside

SERVICE, PORT, BACKEND_PORT = "10.96.0.10", 80, 17171
CONNECTIONS = 53

CLIENT = f"""
import socket, sys
worked = 0
for number in range({CONNECTIONS}):
    try:
        with socket.create_connection(("{SERVICE}", {PORT}), timeout=float(sys.argv[1])) as connection:
            connection.sendall(b"[1000, 1]".ljust(64) + bytes(1000))
            received = b""
            while len(received) < 1064:
                received += connection.recv(4096) or sys.exit("cut short")
            worked += 1
    except OSError:
        pass
print(worked)
"""


def publish(cluster, backend):
    """As kube-proxy: the service's address is translated on the node of whoever asks; INVALID is dropped."""
    for node in cluster.nodes:
        iptables = ("iptables", "-w")
        rule = (*iptables, "-t", "nat", "-A", "PREROUTING", "-d", SERVICE, "-p", "tcp", "--dport", PORT)
        run_in(node.netns, *rule, "-j", "DNAT", "--to-destination", f"{backend.ip}:{BACKEND_PORT}")
        run_in(
            node.netns, *iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"
        )


def connect(pod, *, timeout):
    return int(run_in(pod.netns, "python3", "-c", CLIENT, timeout))


@pytest.fixture
def cluster(request, new_lab):
    bypass, datapath = request.param
    built = new_lab(nodes=2, pods=1, bypass=bypass, datapath=datapath, daemon_args=("--proof-refresh=1",))
    warm(built)
    publish(built, pods(built)[1])
    for number in (1, 2):  # conntrack came with the rules, and the agent looks for it when it starts
        lab.stop_node(built, number)
        lab.start_node(built, number)
    lab.wait_ready(built)
    return built


@pytest.mark.parametrize("cluster", [("proof", "auto"), ("proof", "xdp")], indirect=True)
def test_services_work_and_direct_flows_are_fast(cluster):
    client, backend = pods(cluster)
    with serving(cluster):
        assert connect(client, timeout=5) == CONNECTIONS
        before = counters(cluster)
        visit(client, [backend], sizes=(1, 700, 1422))
        assert share(growth(before, counters(cluster))) >= 0.99
        assert connect(client, timeout=5) == CONNECTIONS


@pytest.mark.parametrize("cluster", [("stateless", "auto")], indirect=True)
def test_without_proof_services_break(cluster):
    """So it is flow proof that makes them work."""
    client, _ = pods(cluster)
    with serving(cluster):
        assert connect(client, timeout=0.05) == 0


@pytest.mark.parametrize("cluster", [("proof", "auto")], indirect=True)
def test_conntrack_is_relaxed_while_needed_and_restored(cluster):
    netns = cluster.node(1).netns
    assert call_inside(netns, lambda: sysctl.read(SETTING)) == "1"
    lab.stop_node(cluster, 1)
    assert call_inside(netns, lambda: sysctl.read(SETTING)) == "1", "programs go on, so it stays"
    removed = call_inside(netns, lambda: uninstall(netns))
    assert any(SETTING in line for line in removed)
    assert call_inside(netns, lambda: sysctl.read(SETTING)) == "0"
