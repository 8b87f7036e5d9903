"""The servers on a real port and a real socket."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import threading
import urllib.error
import urllib.request

import pytest

from xdpflannel.cli.client import ask
from xdpflannel.errors import AgentNotRunning, HostError, XdpflannelError
from xdpflannel.model.state import Check, LeasesState, LeaseState, decode_leases, decode_state, encode
from xdpflannel.observe import metrics, server


def get(port: int, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.status, answer.read().decode()


def status_of(port: int, path: str) -> tuple[int, str]:
    try:
        return get(port, path)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Health:
    def __init__(self) -> None:
        self.live = True
        self.checks = [Check(name="lease", ok=True), Check(name="programs", ok=True, detail="2 attached")]


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def port(health, source):
    registry = metrics.new_registry(source)
    routes = {
        **server.health_routes(lambda: health.live, lambda: health.checks),
        **server.metrics_routes(lambda: metrics.render(registry), metrics.CONTENT_TYPE),
    }
    with server.serve_tcp("127.0.0.1", 0, routes) as running:
        yield running.port


def test_healthz_answers_always(port, health) -> None:
    health.live = False
    health.checks = []
    assert status_of(port, "/healthz")[0] == 200


def test_livez_follows_the_loop(port, health) -> None:
    assert status_of(port, "/livez")[0] == 200
    health.live = False
    assert status_of(port, "/livez")[0] == 503


def test_readyz_needs_every_check(port, health) -> None:
    assert status_of(port, "/readyz") == (200, "xdpflanneld is ready\n")
    health.checks = [*health.checks, Check(name="snapshot", ok=False, detail="etcd has not answered yet")]
    assert status_of(port, "/readyz") == (503, "xdpflanneld is not ready yet\n")
    status, body = status_of(port, "/readyz?verbose")
    assert status == 503
    assert body.splitlines()[:3] == [
        "[+] lease",
        "[+] programs: 2 attached",
        "[-] snapshot: etcd has not answered yet",
    ]


def test_readyz_without_any_check_is_not_ready(port, health) -> None:
    health.checks = []
    assert status_of(port, "/readyz")[0] == 503


def test_metrics_are_served(port) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"] == metrics.CONTENT_TYPE
        assert b"xdpflannel_packets_total{" in answer.read()


def test_unknown_page_names_the_known_ones(port) -> None:
    status, body = status_of(port, "/nothing")
    assert status == 404
    assert "/metrics" in body


def test_head_sends_no_body(port) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("HEAD", "/healthz")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read() == b""
    connection.close()


def test_a_page_that_fails_is_500_and_the_server_goes_on() -> None:
    def broken() -> bytes:
        raise RuntimeError("maps are gone")

    with server.serve_tcp(
        "127.0.0.1", 0, server.document_routes({"/bad": broken, "/good": lambda: b"{}"})
    ) as it:
        status, body = status_of(it.port, "/bad")
        assert status == 500
        assert "maps are gone" not in body
        assert status_of(it.port, "/good") == (200, "{}")


def test_garbage_does_not_stop_the_server(port) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"\x00\xff\x16\x03 nonsense\r\n\r\n")
        client.recv(4096)
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        assert status_of(port, "/healthz")[0] == 200


def test_a_taken_port_is_a_clear_error(port) -> None:
    with pytest.raises(HostError, match=f"127.0.0.1:{port}") as caught:
        server.serve_tcp("127.0.0.1", port, {})
    assert "--metrics-port" in caught.value.hint


def test_closing_frees_the_port_while_a_client_hangs_on() -> None:
    running = server.serve_tcp("127.0.0.1", 0, server.document_routes({"/x": lambda: b"{}"}))
    port = running.port
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        running.close()
    running.close()
    server.serve_tcp("127.0.0.1", port, {}).close()
    # Its request thread ends with the connection; no other thread is left.
    assert not [thread for thread in threading.enumerate() if thread.name == "http"]


def test_documents_over_the_unix_socket(tmp_path, source) -> None:
    documents = {
        "/state": lambda: encode(source.now),
        "/leases": lambda: encode(LeasesState(leases=[LeaseState(subnet="10.1.2.0/24", own=True)])),
    }
    path = tmp_path / "agent.sock"
    with server.serve_unix(path, server.document_routes(documents)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        raw = ask("any", tmp_path, "/state")
        assert decode_state(raw) == source.now
        assert json.loads(raw)["schema"] == 1
        assert decode_leases(ask("any", tmp_path, "/leases")).leases[0].own
        with pytest.raises(XdpflannelError, match="404"):
            ask("any", tmp_path, "/nothing")
    assert not path.exists()


def test_a_left_over_socket_is_replaced_a_living_one_is_not(tmp_path) -> None:
    path = tmp_path / "agent.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with server.serve_unix(path, {}), pytest.raises(HostError, match="another agent"):
        server.serve_unix(path, {})


def test_a_file_in_the_sockets_place_stays(tmp_path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(HostError, match="no socket"):
        server.serve_unix(path, {})
    assert path.read_text() == "precious"


def test_no_agent_is_said_and_exits_3(tmp_path) -> None:
    with pytest.raises(AgentNotRunning, match="no agent answers") as caught:
        ask("cz-nobody", tmp_path, "/state")
    assert caught.value.exit_code == 3
    assert "start xdpflanneld" in caught.value.hint


def test_an_agent_that_hangs_is_said(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "agent.sock"))
        silent.listen()
        with pytest.raises(AgentNotRunning, match="does not answer"):
            ask("cz-nobody", tmp_path, "/state", timeout=0.05)
