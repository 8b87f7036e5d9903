"""The lab's etcd: a real one, in the hub's namespace, reached from outside by a relay."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import sys
import time

from xdpflannel.errors import LabError
from xdpflannel.lab import processes
from xdpflannel.lab.logs import tail
from xdpflannel.lab.shell import inside
from xdpflannel.lab.spec import ETCD_ADDRESS, LabSpec
from xdpflannel.lab.state import LabState, Process

PORT = 2379
ENDPOINT = f"http://{ETCD_ADDRESS}:{PORT}"
"""As the nodes see it."""
PREFIX = "/coreos.com/network"
_READY_SECONDS = 20.0


def start(state: LabState, spec: LabSpec) -> None:
    """Start etcd and the relay, wait until it answers, and store the network configuration."""
    _start_etcd(state)
    _start_relay(state)
    _wait(state)
    put(state.record.etcd_port, f"{PREFIX}/config", json.dumps(network_config(spec)))


def network_config(spec: LabSpec) -> dict[str, object]:
    """The network configuration, as flannel reads it."""
    return {"Network": str(spec.network), "Backend": {"Type": "vxlan", **spec.backend}}


def stop(state: LabState) -> None:
    """Kill etcd; the relay stays and refuses."""
    processes.end([state.record.processes["etcd"]], kill=True)


def start_again(state: LabState) -> None:
    """Start etcd on its old data and wait until it answers."""
    _start_etcd(state)
    _wait(state)


def _hub(state: LabState) -> str:
    return state.record.namespaces[0]


def _start_etcd(state: LabState) -> None:
    command = [
        "etcd",
        "--name=lab",
        f"--data-dir={state.folder / 'etcd'}",
        f"--listen-client-urls={ENDPOINT},http://127.0.0.1:{PORT}",
        f"--advertise-client-urls={ENDPOINT}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=lab=http://127.0.0.1:2380",
        # Alone, it may elect itself at once.
        "--heartbeat-interval=20",
        "--election-timeout=100",
        "--logger=zap",
    ]
    _record(state, "etcd", processes.start(inside(_hub(state), command), state.folder / "etcd.log"))


def _start_relay(state: LabState) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        state.record.etcd_port = listener.getsockname()[1]
        target = [str(listener.fileno()), _hub(state), str(ETCD_ADDRESS), str(PORT)]
        command = [sys.executable, "-m", "xdpflannel.lab.relay", *target]
        log = state.folder / "relay.log"
        _record(state, "relay", processes.start(command, log))


def _record(state: LabState, role: str, process: Process) -> None:
    with state.lock:
        state.record.processes[role] = process
        state.save()


def _wait(state: LabState) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            if _ask(state.record.etcd_port, "GET", "/health")[0] == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        gone = [role for role in ("etcd", "relay") if not processes.alive(state.record.processes[role])]
        if gone or time.monotonic() > deadline:
            role = gone[0] if gone else "etcd"
            what = "ended at once" if gone else f"did not answer within {_READY_SECONDS:.0f} s"
            raise LabError(f"{role} {what}; its last words:\n{tail(state.folder / f'{role}.log')}")
        time.sleep(0.01)


def put(port: int, key: str, value: str) -> None:
    """Store a value, by etcd's JSON gateway; LabError if it refuses."""
    body = {name: base64.b64encode(text.encode()).decode() for name, text in (("key", key), ("value", value))}
    status, answer = _ask(port, "POST", "/v3/kv/put", json.dumps(body))
    if status != http.HTTPStatus.OK:
        raise LabError(f"etcd did not store {key}: {answer.decode(errors='replace')}")


def _ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
