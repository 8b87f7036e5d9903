"""`xdpflanneld`: read flags and variables, then run the agent in the foreground."""

from __future__ import annotations

import sys
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

import click
import structlog

from xdpflannel import __version__
from xdpflannel.agent.settings import LogFormat, Settings
from xdpflannel.cli.errors import guarded
from xdpflannel.cli.flags import FOREIGN_FLAGS, Foreign, all_flags
from xdpflannel.cli.goflags import GoCommand
from xdpflannel.errors import ConfigError
from xdpflannel.observe.log import configure_logging

PROGRAM = "xdpflanneld"

_ADDRESSES = ("iface_can_reach", "public_ip")
_PATHS = ("subnet_file", "run_dir", "bpffs")


@click.command(
    PROGRAM,
    cls=GoCommand,
    context_settings={
        "auto_envvar_prefix": "FLANNELD",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@all_flags
@click.version_option(__version__, message="%(version)s", help="Print the version and leave.")
def command(**flags: Any) -> None:
    """A flannel node: takes a lease in etcd, and forwards its overlay by eBPF.

    Speaks flannel's etcd schema and wire format, so it works among nodes that run flanneld; whatever the
    fast path does not take goes through the kernel's own flannel.N. Stays in the foreground and leaves
    everything in place when it stops: packets keep flowing. `xdpflannel uninstall` removes all of it.

    Flags take one dash or two. Each can be given as a variable instead: --etcd-prefix is
    FLANNELD_ETCD_PREFIX; the flag wins.

    \b
    A network for three nodes, once:
      etcdctl put /coreos.com/network/config '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
    then on each:
      xdpflanneld --etcd-endpoints=http://10.0.0.1:2379 --iface=eth0
      xdpflannel status
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    verbose = flags["log_level"] == "debug"
    sys.exit(guarded(PROGRAM, lambda: _run(flags), verbose=verbose, more="--log-level=debug"))


def _run(flags: dict[str, Any]) -> int:
    notes = [flag for flag in FOREIGN_FLAGS if _judge(flag, flags.pop(flag.attribute))]
    settings = settings_from(flags)
    configure_logging(json=_wants_json(settings.log_format), level=settings.log_level)
    log = structlog.get_logger()
    for flag in notes:
        log.warning("flag.ignored", flag=f"--{flag.name}", reason=flag.note)
    # Here, not above: --help and --version must not wait for it.
    from xdpflannel.agent.daemon import run  # noqa: PLC0415

    return run(settings)


def _judge(flag: Foreign, value: object) -> bool:
    """Return True if the flag was given and is ignored; usage error if it cannot be."""
    if value is None or (flag.refused and value == flag.harmless):
        return False
    if flag.refused:
        raise click.UsageError(f"--{flag.name}: {flag.refused}")
    return True


def settings_from(flags: dict[str, Any]) -> Settings:
    """Return what click read as Settings; usage error if it cannot be used, Unsupported if not there yet."""
    values = dict(flags)
    values["etcd_endpoints"] = [part.strip() for part in values["etcd_endpoints"].split(",") if part.strip()]
    if values["run_dir"] is None:
        del values["run_dir"]
    try:
        for name in _ADDRESSES:
            values[name] = _address(name, values[name])
        for name in _PATHS:
            if name in values:
                values[name] = Path(values[name])
        return Settings(**values)
    except ConfigError as error:
        raise click.UsageError(f"{error}\n  {error.hint}" if error.hint else str(error)) from error


def _address(name: str, text: str | None) -> IPv4Address | None:
    try:
        return IPv4Address(text) if text else None
    except AddressValueError as error:
        raise ConfigError(f"--{name.replace('_', '-')} {text!r} is not an IPv4 address") from error


def _wants_json(log_format: LogFormat) -> bool:
    if log_format is LogFormat.AUTO:
        return not sys.stderr.isatty()
    return log_format is LogFormat.JSON


def main() -> None:
    """Entry point of `xdpflanneld`."""
    command()
