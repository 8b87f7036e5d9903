"""The flags of xdpflanneld: flanneld's, our own, and those of flanneld that have no meaning here."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import click
from attrs import frozen

from xdpflannel.agent.settings import Bypass, Datapath, LoaderChoice, LogFormat, Role, Settings
from xdpflannel.cli.goflags import GoOption
from xdpflannel.observe.log import LEVELS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Text for people, not values: defaults come from Settings, so that they are written once.
_DEFAULTS = Settings()


def _flag(name: str, section: str, text: str, **kwargs: Any) -> Decorator:
    attribute = name.replace("-", "_")
    if "default" not in kwargs and not kwargs.get("multiple"):
        default = getattr(_DEFAULTS, attribute)
        kwargs["default"] = str(default) if isinstance(default, StrEnum) else default
    if kwargs.get("default"):
        kwargs.setdefault("show_default", True)
    return click.option(f"--{name}", attribute, cls=GoOption, section=section, help=text, **kwargs)


def _choice(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([str(member) for member in kind])


ETCD = "Leases (etcd)"
UPLINK = "Uplink"
PLACE = "Files and health"
PATH = "Data plane"
LOOK = "Metrics and logs"
FOREIGN = "flanneld's flags that this version does not act on"

OPTIONS: tuple[Decorator, ...] = (
    _flag(
        "etcd-endpoints",
        ETCD,
        "etcd members, comma between.",
        default=",".join(_DEFAULTS.etcd_endpoints),
        metavar="URL,…",
    ),
    _flag("etcd-prefix", ETCD, "Where flannel's keys live.", metavar="PATH"),
    _flag("etcd-cafile", ETCD, "CA that signed etcd's certificate.", metavar="FILE"),
    _flag("etcd-certfile", ETCD, "Our certificate for etcd.", metavar="FILE"),
    _flag("etcd-keyfile", ETCD, "Its key.", metavar="FILE"),
    _flag("etcd-username", ETCD, "User at etcd.", metavar="NAME"),
    _flag(
        "etcd-password",
        ETCD,
        "Password at etcd. Better as FLANNELD_ETCD_PASSWORD: flags are seen by every user of the machine.",
        metavar="TEXT",
    ),
    _flag(
        "subnet-lease-renew-margin",
        ETCD,
        "Renew the lease so many minutes before its end.",
        type=int,
        metavar="MINUTES",
    ),
    _flag(
        "iface", UPLINK, "Interface name or address to use; may be repeated, first match wins.", multiple=True
    ),
    _flag("iface-regex", UPLINK, "The same by regular expression on addresses, then names.", multiple=True),
    _flag(
        "iface-can-reach",
        UPLINK,
        "The interface by which this address is reached.",
        default=None,
        metavar="IP",
    ),
    _flag("public-ip", UPLINK, "The address that other nodes send to.", default=None, metavar="IP"),
    _flag("subnet-file", PLACE, "Where the CNI plugin reads this node's subnet.", metavar="FILE"),
    _flag("healthz-ip", PLACE, "Where /healthz, /livez and /readyz answer.", metavar="IP"),
    _flag("healthz-port", PLACE, "Their port; 0 = off.", type=int, metavar="PORT"),
    _flag("instance", PLACE, "Name of this agent, if several share a machine.", metavar="NAME"),
    _flag(
        "run-dir", PLACE, "Socket and state  [default: /run/xdpflannel/INSTANCE]", default=None, metavar="DIR"
    ),
    _flag("bpffs", PLACE, "The bpf file system that keeps maps and programs.", metavar="DIR"),
    _flag(
        "role",
        PATH,
        "full: in flanneld's place. accelerate (beside flanneld): not there yet.",
        type=_choice(Role),
    ),
    _flag(
        "datapath",
        PATH,
        "auto picks what is fastest here; xdp and tc force one kind; kernel attaches nothing.",
        type=_choice(Datapath),
    ),
    _flag(
        "bypass",
        PATH,
        "proof: take a flow once the kernel was seen to forward it unchanged, so no NAT rule or policy is"
        " bypassed. stateless: take all at once; this node's NAT and firewall see no overlay traffic.",
        type=_choice(Bypass),
    ),
    _flag(
        "loader",
        PATH,
        "libbpf loads a prebuilt object, bcc compiles at start; auto takes the object if there is one.",
        type=_choice(LoaderChoice),
    ),
    _flag("strict", PATH, "Drop frames of strangers instead of leaving them to the kernel.", boolean=True),
    _flag("bridge", PATH, "The CNI bridge that pods are ports of.", metavar="NAME"),
    _flag("proof-refresh", PATH, "So often a flow is proven again.", type=int, metavar="SECONDS"),
    _flag(
        "max-flows", PATH, "Room for so many flows; a full table forgets the oldest.", type=int, metavar="N"
    ),
    _flag("max-routes", PATH, "Room for so many remote subnets.", type=int, metavar="N"),
    _flag("metrics-ip", LOOK, "Where /metrics answers.", metavar="IP"),
    _flag("metrics-port", LOOK, "Its port; 0 = off.", type=int, metavar="PORT"),
    _flag("log-format", LOOK, "auto: console on a terminal, JSON else.", type=_choice(LogFormat)),
    _flag("log-level", LOOK, "Least important event to log.", type=click.Choice(LEVELS)),
)


@frozen
class Foreign:
    """A flag of flanneld that this version does not act on.

    ``refused`` is the reason why a value other than ``harmless`` would break what the user expects; empty if
    it changes nothing, and ``note`` then says so in the log.
    """

    name: str
    note: str = ""
    refused: str = ""
    boolean: bool = False
    harmless: bool | str = ""

    @property
    def attribute(self) -> str:
        """Name of click's parameter."""
        return self.name.replace("-", "_")


_NO_RULES = "this version writes no firewall rules"
_NO_KUBERNETES = "this version reads leases from etcd only"

FOREIGN_FLAGS = (
    Foreign(
        "ip-masq",
        refused=f"{_NO_RULES}: masquerade what leaves the overlay yourself, then give --ip-masq=false",
        boolean=True,
        harmless=False,
    ),
    Foreign("ip-masq-fully-random-disable", note=_NO_RULES, boolean=True),
    Foreign("iptables-resync", note=_NO_RULES),
    Foreign(
        "iptables-forward-rules",
        refused=f"{_NO_RULES}: allow forwarding yourself, then give --iptables-forward-rules=false",
        boolean=True,
        harmless=False,
    ),
    Foreign(
        "ip-blackhole-route", refused="this version sets no blackhole route", boolean=True, harmless=False
    ),
    Foreign(
        "kube-subnet-mgr",
        refused=f"{_NO_KUBERNETES}: use --etcd-endpoints, or flanneld on this node",
        boolean=True,
        harmless=False,
    ),
    Foreign("kube-api-url", note=_NO_KUBERNETES),
    Foreign("kubeconfig-file", note=_NO_KUBERNETES),
    Foreign("kube-annotation-prefix", note=_NO_KUBERNETES),
    Foreign("net-config-path", note=_NO_KUBERNETES),
    Foreign("set-node-network-unavailable", note=_NO_KUBERNETES, boolean=True),
    Foreign("public-ipv6", refused="this version speaks IPv4 only"),
    Foreign("v", note="use --log-level"),
    Foreign("vmodule", note="use --log-level"),
    Foreign("log_backtrace_at", note="use --log-level"),
)


def _foreign_option(flag: Foreign) -> Decorator:
    text = f"Refused: {flag.refused}." if flag.refused else f"Ignored: {flag.note}."
    kwargs: dict[str, Any] = {"boolean": True} if flag.boolean else {"metavar": "VALUE"}
    return click.option(
        f"--{flag.name}", flag.attribute, cls=GoOption, section=FOREIGN, help=text, default=None, **kwargs
    )


def all_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function with every flag, in the order above."""
    for decorate in reversed((*OPTIONS, *map(_foreign_option, FOREIGN_FLAGS))):
        command = decorate(command)
    return command
