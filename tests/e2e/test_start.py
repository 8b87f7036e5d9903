"""Bad input and bad surroundings, as operators meet them: a status, a sentence, what to do; no traceback."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.clusters import run_in, until
from e2e.daemons import TOP, daemon, ends, environment, etcdctl, programs, put_config, xdpflannel

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.errors import EXIT_FAULT, EXIT_NOT_PERMITTED, EXIT_OK, EXIT_USAGE
from xdpflannel.host.namespace import call_inside

GOOD = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
BODY = "\t__u32 bytes = ctx->len;\n"
"""A line of xf_pod_egress() in bpf/pod_egress.c that a statement may follow."""
_prefixes = itertools.count(1)


@pytest.fixture(scope="module")
def built():
    """One lab for all: a host with an uplink, and etcd."""
    name = f"s{os.getpid() % 10000}"
    made = lab.up(lab.LabSpec(name=name, nodes=1, pods=0))
    try:
        lab.stop_node(made, 1)
        yield made
    finally:
        lab.down(name)


@pytest.fixture
def node(built):
    """A node on which nothing of ours is; afterwards nothing is left either."""
    netns = built.node(1).netns
    assert xdpflannel(netns, "uninstall", "--instance", netns).status == EXIT_OK
    yield built
    assert xdpflannel(netns, "uninstall", "--instance", netns).status == EXIT_OK
    assert untouched(built)
    assert pins.every_abi(netns) == []
    assert not Path("/run/xdpflannel", netns).exists()


@pytest.fixture
def prefix():
    return f"/test/{next(_prefixes)}"


def untouched(built):
    """The node's network is as it was: no interface of ours, no program attached."""
    netns = built.node(1).netns
    return "flannel" not in run_in(netns, "ip", "-br", "link") and programs(netns) == []


def refused(ended, status, *said):
    """Ended so, with one message of at most three lines that says all of this."""
    assert ended.status == status, ended.said
    assert ended.message.startswith(("xdpflanneld: ", "Usage: ")), ended.said
    for words in said:
        assert words in ended.message
    return True


def state_of(built):
    return lab.node_state(built, 1)


def test_etcd_absent(node, tmp_path):
    """It keeps trying, says so once, can be stopped, and starts as soon as etcd is there."""
    lab.stop_etcd(node)
    try:
        with daemon(node, 1, tmp_path / "log") as waiting:
            (said,) = waiting.says("store.awaited")
            assert "198.51.100.254:2379" in said["reason"]
            assert said["hint"]
            assert waiting.end() == EXIT_OK
        with daemon(node, 1, tmp_path / "log") as waiting:
            waiting.says("store.awaited")
            assert waiting.process.poll() is None
            lab.start_etcd(node)
            waiting.says("lease.claimed")
            until(lambda: (found := state_of(node)) and found.ready, "ready")
            assert len(waiting.events("store.awaited")) == 1
    finally:
        if not lab.status(node).etcd_running:
            lab.start_etcd(node)


def test_no_network_configuration_yet(node, prefix, tmp_path):
    with daemon(node, 1, tmp_path / "log", f"--etcd-prefix={prefix}") as waiting:
        (said,) = waiting.says("store.awaited")
        assert f"{prefix}/config" in said["reason"]
        assert "etcdctl put" in said["hint"]
        put_config(node, prefix, GOOD)
        waiting.says("lease.claimed")
        until(lambda: (found := state_of(node)) and found.ready, "ready")
        assert len(waiting.events("store.awaited")) == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{not json", "not JSON"),
        ('{"Network":"10.244.0.0/33"}', "10.244.0.0/33"),
        ('{"Network":"10.244.0.0/16","SubnetLen":8}', "SubnetLen"),
        ('{"Network":"10.244.0.0/16","SubnetMin":"10.1.0.0"}', "SubnetMin"),
        ('{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}', "host-gw"),
        ('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":99999999}}', "99999999"),
    ],
)
def test_unusable_network_configuration(node, prefix, config, said):
    put_config(node, prefix, config)
    refused(ends(node, 1, f"--etcd-prefix={prefix}"), EXIT_FAULT, f"{prefix}/config", said)
    assert untouched(node)


def test_ipv6(node, prefix):
    config = (
        '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}'
    )
    put_config(node, prefix, config)
    refused(ends(node, 1, f"--etcd-prefix={prefix}"), EXIT_NOT_PERMITTED, "IPv6", "EnableIPv6")
    assert untouched(node)


def test_no_free_subnet(node, prefix):
    put_config(node, prefix, '{"Network":"10.9.0.0/28","SubnetLen":30,"Backend":{"Type":"vxlan"}}')
    for last in (0, 4, 8, 12):
        value = json.dumps({"PublicIP": "192.0.2.99", "BackendType": "host-gw"})
        etcdctl(node, "put", f"{prefix}/subnets/10.9.0.{last}-30", value)
    ended = ends(node, 1, f"--etcd-prefix={prefix}")
    refused(ended, EXIT_FAULT, "10.9.0.4 to 10.9.0.12", "enlarge Network")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--etcd-endpoints=nonsense"], "nonsense"),
        (["--etcd-endpoints=http://user:secret@192.0.2.9:2379"], "192.0.2.9"),
        (["--etcd-endpoints=http://192.0.2.9:2379,https://192.0.2.8:2379"], "http and https"),
        (["--instance=a.b"], "a.b"),
        (["--datapath=fast"], "fast"),
        (["--max-routes=3"], "3"),
        (["--metrics-port=70000"], "70000"),
    ],
)
def test_wrong_flags(node, flags, said):
    ended = ends(node, 1, *flags)
    refused(ended, EXIT_USAGE, said)
    assert "secret" not in ended.said


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ((), "CAP_NET_ADMIN and CAP_BPF"),
        (("net_admin",), "CAP_BPF"),
        (("bpf", "perfmon"), "CAP_NET_ADMIN"),
    ],
)
def test_no_permission(node, kept, said):
    bounds = ",".join(["-all", *(f"+{name}" for name in kept)])
    wrap = ("setpriv", f"--bounding-set={bounds}", "--inh-caps=-all")
    refused(ends(node, 1, wrap=wrap), EXIT_NOT_PERMITTED, said, "lacks", "run it as root")
    assert untouched(node)


def test_the_capabilities_of_the_unit_file_are_enough(node, tmp_path):
    unit = Path(__file__).parents[2] / "deploy" / "xdpflanneld.service"
    (line,) = (it for it in unit.read_text().splitlines() if it.startswith("CapabilityBoundingSet="))
    names = [name.removeprefix("CAP_").lower() for name in line.partition("=")[2].split()]
    bounds = ",".join(["-all", *(f"+{name}" for name in names)])
    wrap = ("setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs")
    with daemon(node, 1, tmp_path / "log", wrap=wrap) as running:
        until(lambda: (found := state_of(node)) and found.ready, "ready")
        assert running.end() == EXIT_OK


def test_bpffs_is_another_file_system(node, tmp_path):
    refused(ends(node, 1, f"--bpffs={tmp_path}"), EXIT_FAULT, str(tmp_path), "mount -t bpf")
    assert untouched(node)
    assert list(tmp_path.iterdir()) == []


def test_run_dir_cannot_be_made(node, tmp_path):
    (tmp_path / "file").write_text("")
    refused(ends(node, 1, f"--run-dir={tmp_path}/file/run"), EXIT_FAULT, f"{tmp_path}/file/run")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--iface=eth9"], "--iface eth9"),
        (["--iface=192.0.2.77"], "--iface 192.0.2.77"),
        (["--iface=", "--iface-regex=^nothing$"], "--iface-regex ^nothing$"),
        (["--iface=", "--iface-can-reach=203.0.113.9"], "--iface-can-reach 203.0.113.9"),
        (["--iface="], "no default route"),
    ],
)
def test_no_uplink(node, flags, said):
    ended = ends(node, 1, *flags)
    refused(ended, EXIT_FAULT, said, "eth0 (192.0.2.1)", "mgmt0 (198.51.100.1)", "--iface")
    assert untouched(node)


def test_second_agent_of_an_instance(node, tmp_path):
    with daemon(node, 1, tmp_path / "log") as first:
        until(lambda: (found := state_of(node)) and found.ready, "ready")
        pid = str(first.process.pid)
        refused(ends(node, 1), EXIT_FAULT, "another agent", f"process {pid}", "--instance")
        netns = node.node(1).netns
        ended = xdpflannel(netns, "uninstall", "--instance", netns)
        assert ended.status == EXIT_FAULT
        assert f"process {pid}" in ended.said
        assert first.process.poll() is None
        assert state_of(node).ready


def test_metrics_port_is_taken(node):
    """Nothing is hidden: a node without metrics would look dead to Prometheus."""
    netns = node.node(1).netns
    taken = call_inside(netns, lambda: socket.create_server(("0.0.0.0", 9101)))
    with taken:
        refused(ends(node, 1), EXIT_FAULT, "9101", "--metrics-port")


def test_libbpf_without_an_object(node, tmp_path):
    ended = ends(node, 1, "--loader=libbpf", XDPFLANNEL_OBJECT_DIR=str(tmp_path))
    refused(ended, EXIT_NOT_PERMITTED, "no prebuilt object", str(tmp_path), "make -C bpf", "--loader=bcc")
    assert untouched(node)


def test_bcc_that_no_python_has(node, tmp_path):
    (tmp_path / "bcc.py").write_text("raise ImportError('there is none here')\n")
    ended = ends(node, 1, "--loader=bcc", PYTHONPATH=f"{TOP}:{tmp_path}")
    refused(ended, EXIT_NOT_PERMITTED, "there is none here", "apt-get install python3-bpfcc")


def test_another_bcc(node, tmp_path):
    """The package of that name on the Python index is something else."""
    (tmp_path / "bcc.py").write_text("")
    ended = ends(node, 1, "--loader=bcc", PYTHONPATH=f"{TOP}:{tmp_path}")
    refused(ended, EXIT_NOT_PERMITTED, "not the BPF compiler collection", "python3-bpfcc")


def test_a_foreign_map_where_ours_belongs(node):
    netns = node.node(1).netns
    where = pins.pins(netns)
    where.create()
    path = where.maps / "pods4"
    created = ["bpftool", "map", "create", str(path), "type", "array", "key", "4", "value", "8"]
    subprocess.run([*created, "entries", "4", "name", "foreign"], check=True)
    refused(ends(node, 1), EXIT_FAULT, str(path), "type 2 with 4+8 byte", "uninstall")
    assert untouched(node)


@pytest.fixture
def planted(tmp_path):
    """Plants a mistake into a copy of the C sources; returns the command of a daemon that uses them."""

    def plant(mistake):
        copy = tmp_path / "bpf"
        # The Makefile asks the package beside it for the ABI.
        (tmp_path / "xdpflannel").symlink_to(TOP / "xdpflannel")
        shutil.copytree(TOP / "bpf", copy, ignore=shutil.ignore_patterns("build"))
        program = copy / "pod_egress.c"
        text = program.read_text()
        assert BODY in text
        program.write_text(text.replace(BODY, BODY + mistake))
        start = (
            "from pathlib import Path; from xdpflannel.dataplane import source; from xdpflannel.cli.daemon"
            f" import main; source.folder = lambda: Path({str(copy)!r}); main()"
        )
        return copy, (sys.executable, "-c", start)

    return plant


def test_the_compiler_says_no(node, planted):
    _, program = planted("no_such_thing = 1;")
    ended = ends(node, 1, "--loader=bcc", program=program)
    refused(ended, EXIT_FAULT, "pod_egress.c", "error: use of undeclared identifier 'no_such_thing'")


@pytest.mark.parametrize("loader", ["bcc", "libbpf"])
def test_the_verifier_says_no(node, planted, loader):
    copy, program = planted("*(volatile char *)(long)ctx->data = 1;")
    if loader == "libbpf":
        subprocess.run(["make", "-C", copy], check=True, capture_output=True)
    ended = ends(node, 1, f"--loader={loader}", program=program)
    refused(ended, EXIT_FAULT, "invalid access to packet", "--log-level")
    more = ends(node, 1, f"--loader={loader}", "--log-level=debug", program=program)
    assert "processed " in more.message
    assert len(more.message) > len(ended.message)


def test_a_lab_without_etcd(tmp_path):
    for tool in ("ip", "nsenter", "ethtool"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    program = str(Path(sys.executable).with_name("xdpflannel"))
    done = subprocess.run(
        [program, "lab", "up", "--name", f"s{os.getpid() % 10000}x"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(PATH=str(tmp_path)),
    )
    assert done.returncode == EXIT_FAULT
    assert "the program etcd is missing" in done.stderr
    assert "apt install etcd" in done.stderr
    assert "Traceback" not in done.stderr
