"""Everything `xdpflanneld` can be told, checked once. Flags and variables are read by `cli.daemon`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

from attrs import Attribute, Factory, field, frozen

from xdpflannel.errors import ConfigError, Unsupported

RENEW_MARGIN_MAX = 1439
"""Minutes; one less than the day a lease lives."""

# A dot is not allowed in the name of a file or folder on bpffs (kernel: bpf_lookup()).
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class Role(StrEnum):
    """Who owns leases, flannel.N, routes and subnet.env."""

    FULL = "full"
    """We do: xdpflanneld takes flanneld's place."""
    ACCELERATE = "accelerate"
    """The flanneld beside us does."""


class Datapath(StrEnum):
    """Which programs may be attached."""

    AUTO = "auto"
    XDP = "xdp"
    TC = "tc"
    KERNEL = "kernel"


class Bypass(StrEnum):
    """When the fast path may pass the node's firewall and NAT by."""

    PROOF = "proof"
    """Once the kernel was seen to forward the flow unchanged."""
    STATELESS = "stateless"
    """Always: NAT and policy of this node do not see overlay traffic."""


class LoaderChoice(StrEnum):
    """How the programs get into the kernel."""

    AUTO = "auto"
    BCC = "bcc"
    LIBBPF = "libbpf"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    """Console on a terminal, JSON else."""
    JSON = "json"
    CONSOLE = "console"


Validator = Callable[["Settings", "Attribute[int]", int], None]


def _flag(attribute: Attribute[object] | Attribute[int]) -> str:
    return "--" + attribute.name.replace("_", "-")


def _given(values: Iterable[str]) -> tuple[str, ...]:
    """As in flanneld, an empty --iface asks for nothing."""
    return tuple(value for value in values if value)


def _within(low: int, high: int, unit: str = "") -> Validator:
    def check(_: Settings, attribute: Attribute[int], value: int) -> None:
        if not low <= value <= high:
            raise ConfigError(
                f"{_flag(attribute)} is {value}{unit}, but must be between {low} and {high}",
                hint=f"choose {_flag(attribute)} from {low} to {high}",
            )

    return check


@frozen
class Settings:
    """One agent's settings; a value that cannot be used raises ConfigError, one not built yet Unsupported."""

    etcd_endpoints: tuple[str, ...] = field(
        default=("http://127.0.0.1:4001", "http://127.0.0.1:2379"), converter=tuple
    )
    etcd_prefix: str = field(default="/coreos.com/network")
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = field(default="")
    etcd_username: str = ""
    etcd_password: str = field(default="", repr=False)

    iface: tuple[str, ...] = field(default=(), converter=_given)
    iface_regex: tuple[str, ...] = field(default=(), converter=_given)
    iface_can_reach: IPv4Address | None = None
    public_ip: IPv4Address | None = None

    subnet_file: Path = Path("/run/flannel/subnet.env")
    subnet_lease_renew_margin: int = field(default=60, validator=_within(1, RENEW_MARGIN_MAX, " minutes"))
    """Minutes before the end of the lease."""
    healthz_ip: str = field(default="0.0.0.0")  # noqa: S104 - flanneld's default
    healthz_port: int = field(default=0, validator=_within(0, 65535))
    """0 = off."""

    instance: str = field(default="default")
    run_dir: Path = field(
        default=Factory(lambda self: Path("/run/xdpflannel") / self.instance, takes_self=True)
    )
    bpffs: Path = Path("/sys/fs/bpf")
    role: Role = field(default=Role.FULL, converter=Role)
    datapath: Datapath = field(default=Datapath.AUTO, converter=Datapath)
    bypass: Bypass = field(default=Bypass.STATELESS, converter=Bypass)
    loader: LoaderChoice = field(default=LoaderChoice.AUTO, converter=LoaderChoice)
    strict: bool = False
    bridge: str = field(default="cni0")
    max_routes: int = field(default=65536, validator=_within(16, 1 << 22))
    """Room for remote subnets in map routes4."""
    max_flows: int = field(default=65536, validator=_within(64, 1 << 24))
    """Room for flows in map flows4; when it is full, the least recently used one makes room."""
    proof_refresh: int = field(default=10, validator=_within(1, 3600, " seconds"))
    """How long the proof of a flow holds, in seconds."""
    metrics_ip: str = field(default="0.0.0.0")  # noqa: S104 - scraped from other hosts, like healthz
    metrics_port: int = field(default=9101, validator=_within(0, 65535))
    """0 = off."""
    log_format: LogFormat = field(default=LogFormat.AUTO, converter=LogFormat)
    log_level: str = "info"

    @property
    def renew_margin_seconds(self) -> int:
        """`subnet_lease_renew_margin` in seconds."""
        return self.subnet_lease_renew_margin * 60

    @property
    def socket(self) -> Path:
        """Where the agent answers ``xdpflannel status``."""
        return self.run_dir / "agent.sock"

    @etcd_endpoints.validator
    def _endpoints_are_urls(self, _: object, endpoints: tuple[str, ...]) -> None:
        if not endpoints:
            raise ConfigError(
                "--etcd-endpoints is empty", hint="for example --etcd-endpoints=http://10.0.0.1:2379"
            )
        for endpoint in endpoints:
            _check_endpoint(endpoint)
        if len({urlsplit(endpoint).scheme for endpoint in endpoints}) > 1:
            raise ConfigError(
                "--etcd-endpoints mixes http and https",
                hint="all members of one etcd cluster use the same scheme",
            )

    @etcd_prefix.validator
    def _prefix_is_a_path(self, _: object, prefix: str) -> None:
        if not prefix.startswith("/") or not prefix.strip("/"):
            raise ConfigError(
                f"--etcd-prefix is {prefix!r}, but must be a path",
                hint="flannel's own is /coreos.com/network",
            )

    @etcd_keyfile.validator
    def _key_and_certificate(self, _: object, __: str) -> None:
        if bool(self.etcd_keyfile) != bool(self.etcd_certfile):
            raise ConfigError(
                "--etcd-certfile and --etcd-keyfile belong together, but only one is given",
                hint="give both or none",
            )

    @healthz_ip.validator
    @metrics_ip.validator
    def _is_address(self, attribute: Attribute[object], value: str) -> None:
        try:
            IPv4Address(value)
        except AddressValueError as error:
            raise ConfigError(f"{_flag(attribute)} {value!r} is not an IPv4 address") from error

    @instance.validator
    def _instance_is_a_name(self, _: object, name: str) -> None:
        if not _INSTANCE.fullmatch(name):
            raise ConfigError(
                f"--instance {name!r} cannot name a folder on bpffs",
                hint="use up to 32 letters, digits, - and _ (no dot), starting with a letter or digit",
            )

    @iface_regex.validator
    def _regexes_compile(self, _: object, patterns: tuple[str, ...]) -> None:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"--iface-regex {pattern!r} is not a regular expression: {error}"
                ) from error

    @bridge.validator
    def _bridge_is_an_interface_name(self, _: object, name: str) -> None:
        if not 0 < len(name) < 16 or re.search(r"[\s/:]", name):  # IFNAMSIZ
            raise ConfigError(
                f"--bridge {name!r} is no interface name", hint="flannel's CNI plugin makes cni0"
            )

    @role.validator
    def _only_full(self, _: object, role: Role) -> None:
        if role is Role.ACCELERATE:
            raise Unsupported(
                "--role=accelerate is not there yet: this version must own leases and flannel.N itself",
                hint="use --role=full in place of flanneld on this node",
            )


def _check_endpoint(endpoint: str) -> None:
    # The user part goes first: no message may repeat a password.
    if "@" in endpoint:
        raise ConfigError(
            f"--etcd-endpoints: the endpoint at {endpoint.rpartition('@')[2]} carries a user name",
            hint="use --etcd-username and FLANNELD_ETCD_PASSWORD",
        )
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and parts.hostname is not None and parts.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"--etcd-endpoints: {endpoint!r} is not an etcd endpoint",
            hint="write http://HOST:PORT or https://HOST:PORT, with a comma between several",
        )
