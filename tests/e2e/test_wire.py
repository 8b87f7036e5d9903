"""Our frames are the kernel's frames: field by field, finished by software, and as tshark reads them."""

import contextlib
import json
import shutil
import socket
import subprocess

import pytest
from e2e.clusters import pods, run_in, serving, until, visit, warm
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import bind_layers
from scapy.utils import wrpcap

from xdpflannel import lab
from xdpflannel.host.namespace import call_inside

bind_layers(UDP, VXLAN, dport=8472)

SENDER, KERNEL, RECEIVER = 1, 2, 3
ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23


@pytest.fixture(params=["tc", "xdp"])
def cluster(request, new_lab):
    """Node 1 sends by us, node 2 by the kernel, both to node 3. No hardware finishes what they send."""
    built = new_lab(nodes=3, pods=1, datapath=request.param, kernel_nodes={KERNEL})
    warm(built)
    for number in (SENDER, KERNEL):
        lab.set_offloads(built.node(number).netns, "eth0", tx=False)
    return built


@pytest.fixture
def sniffer(cluster):
    """Sees what crosses the underlay's bridge: there no program takes frames away before they are seen."""
    opened = call_inside(
        f"{cluster.name}-net",
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)),
    )
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    opened.setblocking(False)
    yield opened
    opened.close()


def captured(sniffer):
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            raw = sniffer.recv(65535)
            packet = Ether(raw)
            if packet.haslayer(VXLAN) and packet[UDP].dport == 8472:
                frames.append(packet)
    return frames


def tunnelled(sniffer, source, wanted):
    """The first VXLAN frame from that pod that fits."""
    found = []

    def look():
        found.extend(packet for packet in captured(sniffer) if wanted(packet[VXLAN][IP], source))
        return found

    return until(look, f"a frame from {source.ip}")[0]


def echo_from(inner, source):
    return inner.src == str(source.ip) and inner.haslayer(ICMP) and inner[ICMP].type == 8


FIXED = {
    "outer IP": (
        lambda p: (p[IP].version, p[IP].ihl, p[IP].tos, str(p[IP].flags), p[IP].frag, p[IP].ttl, p[IP].proto)
    ),
    "outer lengths": (lambda p: (p[IP].len, p[UDP].len)),
    "outer port": (lambda p: p[UDP].dport),
    "VXLAN": (lambda p: (int(p[VXLAN].flags), p[VXLAN].vni, p[VXLAN].reserved1, p[VXLAN].reserved2)),
    "inner Ethernet": (lambda p: (p[VXLAN][Ether].dst, p[VXLAN][Ether].type)),
    "inner IP": (lambda p: (p[VXLAN][IP].tos, p[VXLAN][IP].len, str(p[VXLAN][IP].flags), p[VXLAN][IP].ttl)),
    "frame length": len,
}


@pytest.mark.parametrize("tos", [0, 1, 2, 3, 0xB8])
def test_fields_equal_the_kernels(cluster, sniffer, tos):
    ours, theirs = (pods(cluster)[number - 1] for number in (SENDER, KERNEL))
    target = pods(cluster)[RECEIVER - 1]
    frames = {}
    for source in (ours, theirs):
        run_in(source.netns, "ping", "-n", "-c", 1, "-W", 2, "-Q", tos, "-s", 100, target.ip)
        frames[source] = tunnelled(sniffer, source, echo_from)
    for name, field in FIXED.items():
        assert field(frames[ours]) == field(frames[theirs]), name
    for source, packet in frames.items():
        assert 32768 <= packet[UDP].sport < 60999, source
        assert right_checksums(packet)
    assert frames[ours][UDP].chksum == 0
    node = cluster.node(SENDER)
    assert frames[ours][IP].src == str(node.underlay_ip)
    device = json.loads(run_in(node.netns, "ip", "-j", "link", "show", "flannel.1"))
    assert frames[ours][VXLAN][Ether].src == device[0]["address"]


def right_checksums(packet):
    """Compute every checksum anew; nothing a driver said is trusted."""
    anew = Ether(bytes(packet))
    for layer in (anew[IP], anew[VXLAN][IP]):
        del layer.chksum
    inner = anew[VXLAN][IP]
    for kind in (UDP, TCP, ICMP):
        if inner.haslayer(kind) and getattr(inner[kind], "chksum", None):
            del inner[kind].chksum
    if packet[UDP].chksum:
        del anew[UDP].chksum
    return bytes(Ether(bytes(anew))) == bytes(packet)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_streams_are_cut_right_and_tshark_agrees(cluster, sniffer, tmp_path):
    """A GSO stream, cut into frames in software: every segment whole, every checksum right, nothing odd."""
    source, target = pods(cluster)[SENDER - 1], pods(cluster)[RECEIVER - 1]
    with serving(cluster):
        visit(source, [target], size=300_000, sizes=(1, 700, 1422))
    frames = [packet for packet in captured(sniffer) if packet[VXLAN][IP].src == str(source.ip)]
    full = [packet for packet in frames if len(packet) == 1514]
    assert len(full) > 100
    assert all(right_checksums(packet) for packet in frames)
    capture = tmp_path / "frames.pcap"
    wrpcap(str(capture), frames)
    checks = [f"-o{name}.check_checksum:TRUE" for name in ("ip", "udp", "tcp")]
    command = ["tshark", "-r", str(capture), "-d", "udp.port==8472,vxlan", *checks]
    decoded = subprocess.run([*command, "-Y", "vxlan"], capture_output=True, text=True, check=True).stdout
    assert len(decoded.splitlines()) == len(frames)
    warned = subprocess.run(
        [*command, "-Y", "_ws.expert.severity >= 0x600000 || _ws.malformed"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert warned == ""
