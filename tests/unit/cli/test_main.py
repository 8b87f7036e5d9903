"""The read commands: a table for people, documents for scripts, exit statuses for both."""

from __future__ import annotations

import json
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from xdpflannel.cli.main import COMMANDS, command
from xdpflannel.dataplane.abi import Program
from xdpflannel.errors import DataplaneError
from xdpflannel.model.entries import ConfigEntry, Counter, FlowEntry, FlowKey, PodEntry, RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.model.state import (
    AgentState,
    AttachmentState,
    Check,
    Counts,
    DeviceState,
    LeasesState,
    LeaseState,
    OwnLeaseState,
    SkippedState,
    StoreState,
    UplinkState,
    encode,
)
from xdpflannel.model.verdict import Verdict
from xdpflannel.observe.server import document_routes, serve_unix

MAC = Mac.parse("02:00:00:00:00:07")


class FakeTables:
    def __init__(self) -> None:
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def routes(self):
        entry = RouteEntry(
            vtep_ip=IPv4Address("192.0.2.2"),
            vtep_mac=MAC,
            local_ip=IPv4Address("192.0.2.1"),
            local_mac=MAC,
            ifindex=1,
            source_mac=MAC,
            next_hop_mac=None,
            mtu=1450,
            vni=1,
            port=8472,
        )
        return {IPv4Network("10.1.3.0/24"): entry, IPv4Network("10.1.2.0/24"): entry}

    def pods(self):
        return {
            IPv4Address("10.1.1.2"): PodEntry(ifindex=0, mac=MAC, gateway_mac=MAC, port_mac=MAC, mtu=1450)
        }

    def config(self):
        return ConfigEntry(
            device_ifindex=3,
            uplink_mac=MAC,
            vtep_mac=MAC,
            vtep_ip=IPv4Address("192.0.2.1"),
            vni=1,
            port=8472,
            source_ports=(32768, 60999),
            proof_refresh_ns=10_000_000_000,
        )

    def flows(self):
        now = time.monotonic()
        pair = IPv4Address("10.1.1.2"), IPv4Address("10.1.2.2")
        return {
            FlowKey(*pair, 4000, 80, 6): FlowEntry(confirmed_at=now - 1, seen_at=now - 1),
            FlowKey(*pair, 4001, 80, 6): FlowEntry(confirmed_at=now - 99, seen_at=now - 99),
            FlowKey(*pair, 4002, 80, 17): FlowEntry(confirmed_at=None, seen_at=now - 2),
            FlowKey(*pair, 4003, 80, 6): FlowEntry(confirmed_at=None, seen_at=now - 3, closing=True),
            FlowKey(*pair, 77, 8, 1): FlowEntry(confirmed_at=now - 4, seen_at=now - 4),
        }

    def counters(self):
        none = {(program, verdict): Counter(0, 0) for program in Program for verdict in Verdict}
        return none | {
            (Program.POD_EGRESS, Verdict.ENCAPSULATED): Counter(packets=1234567, bytes=99),
            (Program.POD_EGRESS, Verdict.FRAGMENT): Counter(packets=3, bytes=77),
            (Program.XDP_UPLINK, Verdict.LEFT_TO_GRO): Counter(packets=1000, bytes=1),
        }


@pytest.fixture
def tables(monkeypatch) -> FakeTables:
    fake = FakeTables()
    monkeypatch.setattr("xdpflannel.dataplane.pins.find", lambda _: Path("/nowhere"))
    monkeypatch.setattr("xdpflannel.dataplane.maps.Tables.open", lambda _: fake)
    return fake


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(command, args)


def a_state(**changes) -> AgentState:
    values = {
        "instance": "default",
        "version": "1.2.3",
        "pid": 7,
        "started_at": time.time() - 3700,
        "role": "full",
        "datapath_wanted": "auto",
        "datapath": ["pod_egress", "uplink_ingress"],
        "reasons": ["eth0 is a veth, whose XDP switches the neighbour's TSO off"],
        "bypass": "stateless",
        "strict": False,
        "loader": "bcc",
        "abi": "abc",
        "pin_dir": "/sys/fs/bpf/xdpflannel/default/abc",
        "uplink": UplinkState(
            name="eth0",
            ifindex=2,
            mac=str(MAC),
            mtu=1500,
            address="192.0.2.1",
            public_ip="192.0.2.1",
            driver="veth",
        ),
        "device": DeviceState(name="flannel.1", ifindex=3, mac=str(MAC), mtu=1450, vni=1, port=8472),
        "lease": OwnLeaseState(subnet="10.1.1.0/24", expires_at=time.time() + 86000),
        "attachments": [AttachmentState(program="uplink_ingress", hook="tcx", interface="eth0", ifindex=2)],
        "store": StoreState(kind="etcd", up=True, endpoints=["http://127.0.0.1:2379"]),
        "counts": Counts(leases=3, routes=2, pods=2),
        "checks": [Check(name="lease", ok=True)],
        "ready": True,
    }
    return AgentState(**(values | changes))


@pytest.fixture
def agent(tmp_path):
    """Serve documents as the agent does; returns a function that sets the state."""
    now = {"state": a_state()}
    document = LeasesState(
        leases=[
            LeaseState(subnet="10.1.1.0/24", public_ip="192.0.2.1", backend_type="vxlan", own=True),
            LeaseState(subnet="10.1.2.0/24", public_ip="192.0.2.2", expires_at=time.time() + 90000),
        ],
        skipped=[SkippedState(key="/net/subnets/nonsense", reason="the key names no [subnet]")],
    )
    documents = {"/state": lambda: encode(now["state"]), "/leases": lambda: encode(document)}
    with serve_unix(tmp_path / "agent.sock", document_routes(documents)):
        yield lambda **changes: now.update(state=a_state(**changes))


def test_status_says_what_and_why(run, agent, tmp_path) -> None:
    agent()
    result = run("status", "--run-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    for words in (
        "1.2.3, pid 7, up 1 h 1 min",
        "auto: pod_egress, uplink_ingress",
        "why       eth0 is a veth",
        "eth0 192.0.2.1, mtu 1500, veth",
        "10.1.1.0/24, ends in 23 h 53 min",
        "uplink_ingress  tcx",
    ):
        assert words in result.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": False, "checks": [Check(name="snapshot", ok=False, detail="etcd has not answered")]},
        {"store": StoreState(kind="etcd", up=False, detail="connection refused")},
    ],
)
def test_a_degraded_node_exits_3_and_says_why(run, agent, tmp_path, changes) -> None:
    agent(**changes)
    result = run("status", "--run-dir", str(tmp_path))
    assert result.exit_code == 3
    assert "etcd has not answered" in result.stdout or "connection refused" in result.stdout


def test_status_without_a_lease_uplink_or_programs(run, agent, tmp_path) -> None:
    agent(lease=None, uplink=None, device=None, attachments=[], datapath=[], reasons=[])
    result = run("status", "--run-dir", str(tmp_path))
    assert "none yet" in result.stdout
    assert "the kernel's own path only" in result.stdout


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_as_a_document(run, agent, tmp_path, output, load) -> None:
    agent()
    document = load(run("status", "--run-dir", str(tmp_path), "-o", output).stdout)
    assert document["schema"] == 1
    assert document["lease"]["subnet"] == "10.1.1.0/24"
    assert document["uplink"]["driver"] == "veth"


def test_status_waits_for_a_node_that_is_ready(run, agent, tmp_path) -> None:
    agent()
    assert run("status", "--run-dir", str(tmp_path), "--wait", "5").exit_code == 0


def test_status_stops_waiting(run, agent, tmp_path) -> None:
    agent(ready=False)
    assert run("status", "--run-dir", str(tmp_path), "--wait", "0.01").exit_code == 3


@pytest.mark.parametrize("name", ["status", "leases"])
def test_without_an_agent_it_says_so_and_what_still_works(run, tables, tmp_path, name) -> None:
    assert not tables.closed
    result = run(name, "--instance", "cz", "--run-dir", str(tmp_path))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "no agent answers for instance cz" in result.stderr
    assert "`xdpflannel routes`" in result.stderr


def test_without_agent_and_pins_it_promises_nothing(run, tmp_path) -> None:
    result = run("status", "--instance", "cz-nothing", "--run-dir", str(tmp_path))
    assert result.exit_code == 3
    assert "nothing is loaded" in result.stderr


def test_leases(run, agent, tmp_path) -> None:
    agent()
    result = run("leases", "--run-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "192.0.2.2" in result.stdout
    assert "in 1 d 0 h" in result.stdout
    assert "the key names no [subnet]" in result.stdout
    document = json.loads(run("leases", "--run-dir", str(tmp_path), "-o", "json").stdout)
    assert [lease["own"] for lease in document["leases"]] == [True, False]


def test_routes_are_sorted_and_say_what_is_unresolved(run, tables) -> None:
    result = run("routes")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["SUBNET", "VTEP", "VTEP", "MAC", "NEXT", "HOP", "INTERFACE", "MTU"]
    assert lines[1].startswith("10.1.2.0/24")
    assert "unresolved" in lines[1]
    assert tables.closed
    (first, _) = json.loads(run("routes", "-o", "json").stdout)["routes"]
    assert first["next_hop_mac"] is None
    assert first["interface"] == "lo"


def test_pods(run, tables) -> None:
    assert "10.1.1.2" in run("pods").stdout
    assert tables.closed
    (pod,) = json.loads(run("pods", "-o", "json").stdout)["pods"]
    assert (pod["ip"], pod["napi"], pod["mac"]) == ("10.1.1.2", False, str(MAC))


def test_counters_and_the_share(run, tables) -> None:
    text = run("counters").stdout
    assert tables.closed
    assert "1 234 567" in text
    assert "not_tunnel" not in text
    # 3 of 1,234,570: never rounded up to 100 %. What XDP left to tc is counted there.
    assert "fast path: 99.99 %" in text
    document = json.loads(run("counters", "-o", "json").stdout)
    assert document["fast_path_share"] == 1234567 / 1234570
    assert {"program": "pod_egress", "verdict": "fragment"}.items() <= document["counters"][1].items()
    assert "not_tunnel" in run("counters", "--all").stdout


def test_counters_before_the_first_packet(run, tables, monkeypatch) -> None:
    monkeypatch.setattr(tables, "counters", dict)
    assert "no overlay packet yet" in run("counters").stdout
    assert json.loads(run("counters", "-o", "json").stdout)["fast_path_share"] is None


@pytest.mark.parametrize("name", ["routes", "pods", "counters"])
def test_an_instance_without_pins_is_a_clear_error(run, monkeypatch, name) -> None:
    def nothing(instance: str) -> Path:
        raise DataplaneError(f"instance {instance!r} has no data plane", hint="start xdpflanneld")

    monkeypatch.setattr("xdpflannel.dataplane.pins.find", nothing)
    result = run(name, "--instance", "cz")
    assert result.exit_code == 1
    assert result.stderr == "xdpflannel: instance 'cz' has no data plane\n  start xdpflanneld\n"


def test_unexpected_errors_are_one_line_unless_debugging(run, monkeypatch) -> None:
    monkeypatch.setattr("xdpflannel.dataplane.pins.find", lambda _: 1 // 0)
    short = run("routes")
    assert short.exit_code == 1
    assert "unexpected ZeroDivisionError" in short.stderr
    assert "--debug" in short.stderr
    assert "Traceback" not in short.output
    assert "Traceback" in run("--debug", "routes").stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_within_100_columns(run, name) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_the_help_lists_every_command(run) -> None:
    text = run("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(
    "args", [("nonsense",), ("status", "--nonsense"), ("routes", "-o", "xml"), ("config",)]
)
def test_usage_errors_exit_2(run, args) -> None:
    assert run(*args).exit_code == 2


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion(run, shell) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_XDPFLANNEL_COMPLETE" in result.stdout


def test_config_check(run, tmp_path) -> None:
    file = tmp_path / "net-conf.json"
    file.write_text('{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}')
    result = run("config", "check", str(file), "-o", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)["config"]
    assert document["network"] == "10.244.0.0/16"
    assert document["backend"]["vni"] == 7
    assert "backend.vni" in run("config", "check", str(file)).stdout


def test_config_check_says_what_is_wrong(run, tmp_path) -> None:
    file = tmp_path / "net-conf.json"
    file.write_text('{"Network": "10.244.0.0/33"}')
    result = run("config", "check", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith("xdpflannel: ")
    assert run("config", "check", str(tmp_path / "absent")).exit_code == 2
    file.write_bytes(b"\xff\xfe\x00")
    assert run("config", "check", str(file)).exit_code == 2


@pytest.mark.parametrize("dry_run", [True, False])
def test_uninstall_lists_what_it_removed(run, monkeypatch, dry_run) -> None:
    import sys  # noqa: PLC0415
    import types  # noqa: PLC0415

    module = types.ModuleType("xdpflannel.agent.uninstall")
    asked = []

    def remove(instance: str, dry: bool, run_dir: Path | None) -> list[str]:
        asked.append((instance, dry, run_dir))
        return ["interface flannel.1", "/sys/fs/bpf/xdpflannel/cz"]

    module.uninstall = remove
    monkeypatch.setitem(sys.modules, "xdpflannel.agent.uninstall", module)
    result = run("uninstall", "--instance", "cz", *(["--dry-run"] if dry_run else []))
    assert result.exit_code == 0
    assert asked == [("cz", dry_run, None)]
    assert result.stdout == "interface flannel.1\n/sys/fs/bpf/xdpflannel/cz\n"
    assert ("nothing was removed" in result.stderr) is dry_run


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--nodes", "0"), "0 nodes are not possible"),
        (("--kernel-nodes", "9"), "names node 9, but there are 2"),
        (("--kernel-nodes", "two"), "no list of numbers"),
        (("--network", "10.244.0.0/33"), "no IPv4 network"),
        (("--network", "192.0.2.0/24"), "overlaps"),
        (("--name", "Bad_Name"), "cannot be named"),
        (("--datapath", "fast"), "'auto', 'xdp', 'tc', 'kernel'"),
    ],
)
def test_a_lab_that_cannot_be_built_is_a_usage_error(run, args, said) -> None:
    result = run("lab", "up", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("args", [("down",), ("status",), ("exec", "node1", "true")])
def test_a_lab_that_is_not_there_is_said(run, args) -> None:
    result = run("lab", args[0], "--name", "cz-absent", *args[1:])
    assert result.exit_code in {1, 4}  # 4: not root
    assert "cz-absent" in result.stderr or "root" in result.stderr


def test_flows_say_what_becomes_of_them(run, tables):
    found = run("flows", "-o", "json")
    assert found.exit_code == 0
    states = {row["source_port"]: row["state"] for row in json.loads(found.stdout)["flows"]}
    assert states == {4000: "proven", 4001: "expired", 4002: "seen", 4003: "closing", 77: "proven"}
    assert tables.closed
    text = run("flows").stdout
    assert "10.1.1.2:4000" in text
    assert "10.1.2.2 echo 77" in text
    only = json.loads(run("flows", "--state", "closing", "-o", "json").stdout)["flows"]
    assert [row["source_port"] for row in only] == [4003]
