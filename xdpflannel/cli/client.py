"""Asks the running agent, by HTTP over its unix socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xdpflannel.errors import AgentNotRunning, DataplaneError, NotPermitted, XdpflannelError

RUN_DIR = Path("/run/xdpflannel")

instance_option = click.option(
    "--instance",
    metavar="NAME",
    default="default",
    show_default=True,
    envvar="XDPFLANNEL_INSTANCE",
    help="Which agent, if several share this machine.",
)


def agent_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --instance and --run-dir, by which the agent's socket is found."""
    run_dir = click.option(
        "--run-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The agent's --run-dir, if it was given one.",
    )
    return instance_option(run_dir(command))


def ask(instance: str, run_dir: Path | None, path: str, *, timeout: float = 5.0) -> bytes:
    """Return what the agent answers for ``path``; AgentNotRunning, NotPermitted or XdpflannelError else."""
    address = (run_dir or RUN_DIR / instance) / "agent.sock"
    connection = _UnixConnection(address, timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise AgentNotRunning(
            f"no agent answers for instance {instance} ({address})", hint=_still(instance)
        ) from error
    except PermissionError as error:
        raise NotPermitted(
            f"{address} may be used by root only", hint="run the same command as root"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise AgentNotRunning(
            f"the agent of instance {instance} does not answer on {address}: {error or type(error).__name__}",
            hint=_still(instance),
        ) from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise XdpflannelError(
            f"the agent answered {answer.status} for {path}: {body.decode(errors='replace').strip()}",
            hint="its log says more",
        )
    return body


def _still(instance: str) -> str:
    """Say what works without the agent, by looking."""
    from xdpflannel.dataplane import pins  # noqa: PLC0415 - only on the way to an error

    try:
        pins.find(instance)
    except (DataplaneError, XdpflannelError, OSError):
        return "nothing is loaded for it either: start xdpflanneld, or name another --instance"
    return (
        "what it loaded still forwards, with the leases it last knew, and `xdpflannel routes`, `pods` and"
        " `counters` still show it; start xdpflanneld to follow changes again"
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, address: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._address))
