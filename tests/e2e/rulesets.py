"""Rules as kube-proxy and a NetworkPolicy engine write them, by iptables and by nftables."""

import subprocess
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel import lab

KINDS = ("iptables", "nftables")
MARK = "0x4000"
PORT = 17171
NETWORK = IPv4Network("10.244.0.0/16")


@frozen
class Service:
    """What one address and port stand for. ``node_port`` 0: none; ``local``: its traffic policy."""

    name: str
    ip: IPv4Address
    backends: tuple[lab.LabPod, ...]
    node_port: int = 0
    local: bool = False
    sticky: bool = False


@frozen
class Rules:
    """What every node enforces."""

    services: tuple[Service, ...] = ()
    host_port: int = 0
    """Port of every node that leads to its first pod."""
    denied: tuple[tuple[IPv4Address, IPv4Address], ...] = ()
    """Who may not open anything to whom."""


def install(cluster, kind, rules):
    """On every node, with hairpin mode on the pods' ports, as kubelet and the CNI plugin set it."""
    for node in cluster.nodes:
        for number in range(1, len(node.pods) + 1):
            _inside(node, "ip", "link", "set", f"veth{number}", "type", "bridge_slave", "hairpin", "on")
        if kind == "iptables":
            _inside(node, "iptables-restore", text=_iptables(rules, node))
        else:
            _inside(node, "nft", "-f", "-", text=_nftables(rules, node))


def deny(node, kind, source, target):
    """A policy without exception for what is established, before all others."""
    if kind == "iptables":
        _inside(node, "iptables", "-I", "POLICY", "-s", source, "-d", target, "-j", "DROP")
    else:
        _inside(node, "nft", "insert", "rule", "ip", "kube", "policy", "ip", "saddr", source, "ip", "daddr",
                target, "drop")  # fmt: skip


def allow_again(node, kind, source, target):
    """Take the policy of `deny` away."""
    if kind == "iptables":
        _inside(node, "iptables", "-D", "POLICY", "-s", source, "-d", target, "-j", "DROP")
        return
    listed = _inside(node, "nft", "-a", "list", "chain", "ip", "kube", "policy")
    (line,) = [line for line in listed.splitlines() if f"saddr {source} ip daddr {target} drop" in line]
    _inside(node, "nft", "delete", "rule", "ip", "kube", "policy", "handle", line.split()[-1])


def liberal(cluster):
    """What the agent sets for itself: conntrack sees only some packets of what the fast path takes."""
    for node in cluster.nodes:
        _inside(node, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=1")


def _inside(node, *command, text=None):
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{node.netns}", *map(str, command)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{node.netns}: {command}\n{done.stderr}\n{text or ''}"
    return done.stdout


def _chosen(service, node):
    return [it for it in service.backends if it in node.pods] if service.local else list(service.backends)


def _iptables(rules, node):
    nat = ["-A PREROUTING -j SERVICES", "-A OUTPUT -j SERVICES", "-A POSTROUTING -j MASQ"]
    nat += [
        f"-A MASQ -m mark ! --mark {MARK}/{MARK} -j RETURN",
        f"-A MASQ -j MARK --xor-mark {MARK}",
        "-A MASQ -j MASQUERADE --random-fully",
    ]
    chains = ["SERVICES", "MASQ", "NODEPORTS"]
    for service in rules.services:
        _iptables_service(service, node, nat, chains)
    if rules.host_port:
        for way in ("tcp", "udp"):
            match = f"-m addrtype --dst-type LOCAL -p {way} --dport {rules.host_port}"
            nat.append(f"-A SERVICES {match} -j DNAT --to-destination {node.pods[0].ip}:{PORT}")
    nat.append("-A SERVICES -m addrtype --dst-type LOCAL -j NODEPORTS")
    policy = ["-A POLICY -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"]
    policy += [f"-A POLICY -s {source} -d {target} -j DROP" for source, target in rules.denied]
    forward = [
        "-A FORWARD -j POLICY",
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
        f"-A FORWARD -m mark --mark {MARK}/{MARK} -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-A FORWARD -s {NETWORK} -j ACCEPT",
        f"-A FORWARD -d {NETWORK} -j ACCEPT",
    ]
    nat_lines = ["*nat", *(f":{name} - [0:0]" for name in chains), *nat, "COMMIT"]
    filter_lines = ["*filter", ":FORWARD DROP [0:0]", ":POLICY - [0:0]", *forward, *policy, "COMMIT", ""]
    return "\n".join(nat_lines + filter_lines)


def _iptables_service(service, node, nat, chains):
    for way in ("tcp", "udp"):
        name = f"{service.name}-{way}"
        chains.append(name)
        nat.append(f"-A SERVICES -d {service.ip} -p {way} --dport 80 -j {name}")
        _iptables_choice(service.backends, name, way, service.sticky, nat, chains)
        if not service.node_port:
            continue
        if not service.local:
            nat.append(f"-A NODEPORTS -p {way} --dport {service.node_port} -j MARK --or-mark {MARK}")
            nat.append(f"-A NODEPORTS -p {way} --dport {service.node_port} -j {name}")
            continue
        chains.append(f"{name}-local")
        nat.append(f"-A NODEPORTS -p {way} --dport {service.node_port} -j {name}-local")
        _iptables_choice(_chosen(service, node), f"{name}-local", way, False, nat, chains)


def _iptables_choice(backends, name, way, sticky, nat, chains):
    ends = [f"{name}-{number}" for number in range(len(backends))]
    if sticky:
        for end in ends:
            nat.append(f"-A {name} -m recent --name {end} --rcheck --seconds 600 --reap -j {end}")
    for number, (end, pod) in enumerate(zip(ends, backends, strict=True)):
        chains.append(end)
        left = len(backends) - number
        chance = f"-m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
        nat.append(f"-A {name} {chance} -j {end}")
        nat.append(f"-A {end} -s {pod.ip} -j MARK --or-mark {MARK}")
        affinity = f"-m recent --name {end} --set" if sticky else ""
        nat.append(f"-A {end} -p {way} {affinity} -j DNAT --to-destination {pod.ip}:{PORT}")


def _nftables(rules, node):
    chains = {
        "prerouting": ["type nat hook prerouting priority dstnat", "jump services"],
        "output": ["type nat hook output priority dstnat", "jump services"],
        "services": [],
        "postrouting": [
            "type nat hook postrouting priority srcnat",
            f"meta mark & {MARK} != {MARK} return",
            f"meta mark set meta mark xor {MARK}",
            "masquerade fully-random",
        ],
        "policy": ["ct state established,related return"],
        "forward": [
            "type filter hook forward priority filter; policy drop",
            "jump policy",
            "ct state invalid drop",
            f"meta mark & {MARK} == {MARK} accept",
            "ct state established,related accept",
            f"ip saddr {NETWORK} accept",
            f"ip daddr {NETWORK} accept",
        ],
    }
    chains["policy"] += [f"ip saddr {source} ip daddr {target} drop" for source, target in rules.denied]
    if rules.host_port:
        target = f"dnat to {node.pods[0].ip}:{PORT}"
        match = f"meta l4proto {{ tcp, udp }} th dport {rules.host_port}"
        chains["services"].append(f"fib daddr type local {match} {target}")
    for service in rules.services:
        _nftables_service(service, node, chains)
    # A chain must be declared before it is jumped to.
    text = "".join(f"add chain ip kube {name}\n" for name in chains if not chains[name][:1] or
                   not chains[name][0].startswith("type"))  # fmt: skip
    body = "".join(
        f"chain {name} {{ {'; '.join(statements)}; }}\n" if statements else f"chain {name} {{ }}\n"
        for name, statements in chains.items()
    )
    return f"add table ip kube\n{text}table ip kube {{\n{body}}}\n"


def _nftables_service(service, node, chains):
    name = f"svc-{service.name}"
    ports = "meta l4proto { tcp, udp } th dport"
    chains["services"].append(f"ip daddr {service.ip} {ports} 80 jump {name}")
    chains[name] = _nftables_choice(service.backends, name, service.sticky, chains)
    if not service.node_port:
        return
    at = f"fib daddr type local {ports} {service.node_port}"
    if not service.local:
        chains["services"].append(f"{at} meta mark set meta mark or {MARK} jump {name}")
        return
    chains["services"].append(f"{at} jump {name}-local")
    chains[f"{name}-local"] = _nftables_choice(_chosen(service, node), f"{name}-local", False, chains)


def _nftables_choice(backends, name, sticky, chains):
    for number, pod in enumerate(backends):
        chains[f"{name}-{number}"] = [
            f"ip saddr {pod.ip} meta mark set meta mark or {MARK}",
            f"meta l4proto {{ tcp, udp }} dnat to {pod.ip}:{PORT}",
        ]
    if not backends:
        return []
    pick = f"jhash ip saddr mod {len(backends)}" if sticky else f"numgen random mod {len(backends)}"
    ends = ", ".join(f"{number} : jump {name}-{number}" for number in range(len(backends)))
    return [f"{pick} vmap {{ {ends} }}"]
