"""`config check`, `uninstall` and `completion`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, TextIO

import attrs
import click

from xdpflannel.cli.client import agent_options
from xdpflannel.cli.logs import quiet_logs
from xdpflannel.cli.render import emit, facts, output_option
from xdpflannel.errors import EXIT_OK


@click.group()
def config() -> None:
    """Work with the network configuration (flannel's net-conf JSON)."""


@config.command()
@click.argument("file", type=click.File())
@output_option
def check(file: TextIO, output: str) -> int:
    """Check FILE (- for stdin) by the same rules as the daemon, and show what it means.

    \b
    xdpflannel config check net-conf.json
    etcdctl get --print-value-only /coreos.com/network/config | xdpflannel config check -
    """  # noqa: D301
    from xdpflannel.model.config import parse_network_config  # noqa: PLC0415

    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name} is not UTF-8 text") from error
    document = attrs.asdict(parse_network_config(text), value_serializer=_plain)
    emit(output, {"schema": 1, "config": document}, lambda: [facts(_flat(document))])
    return EXIT_OK


def _plain(_: object, __: object, value: Any) -> Any:
    return str(value) if isinstance(value, IPv4Address | IPv4Network | IPv6Address | IPv6Network) else value


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in document.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


@click.command()
@agent_options
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def uninstall(instance: str, run_dir: Path | None, dry_run: bool) -> int:
    """Remove everything that xdpflanneld made on this node, and nothing else.

    Stop xdpflanneld first. Without flannel.N and its routes this node's pods cannot reach other nodes until
    flanneld or xdpflanneld runs again. The lease in etcd stays until it expires, as with flanneld.
    """
    from xdpflannel.agent.uninstall import uninstall as remove  # noqa: PLC0415

    quiet_logs()
    removed = remove(instance, dry_run, run_dir)
    for item in removed:
        click.echo(item)
    if not removed:
        click.echo(f"nothing of instance {instance} is here", err=True)
    elif dry_run:
        click.echo("nothing was removed (--dry-run)", err=True)
    return EXIT_OK


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    source <(xdpflannel completion bash)
    xdpflannel completion zsh  > ~/.zfunc/_xdpflannel
    xdpflannel completion fish > ~/.config/fish/completions/xdpflannel.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - the choice above names what click has
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "xdpflannel", "_XDPFLANNEL_COMPLETE").source())
    return EXIT_OK
