"""xdpflanneld's flags and variables, as flanneld's users know them."""

from __future__ import annotations

import sys
import types
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from xdpflannel import __version__
from xdpflannel.agent.settings import Bypass, Datapath, LoaderChoice, Settings
from xdpflannel.cli.daemon import command
from xdpflannel.cli.flags import FOREIGN_FLAGS
from xdpflannel.errors import HostError, NotPermitted, ProgramRejected


class Agent:
    """Stands where the agent runs: notes the settings, ends as told."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.ends: int | Exception = 0

    def run(self, settings: Settings) -> int:
        self.settings = settings
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


@pytest.fixture
def agent(monkeypatch):
    fake = Agent()
    module = types.ModuleType("xdpflannel.agent.daemon")
    module.run = fake.run
    monkeypatch.setitem(sys.modules, "xdpflannel.agent.daemon", module)
    yield fake
    structlog.reset_defaults()


@pytest.fixture
def start(agent):
    assert agent.settings is None

    def call(*args: str, **env: str):
        return CliRunner().invoke(command, args, env=env)

    return call


@pytest.fixture
def settings(start, agent):
    def read(*args: str, **env: str) -> Settings:
        result = start(*args, **env)
        assert result.exit_code == 0, result.output
        assert agent.settings is not None
        return agent.settings

    return read


def test_without_flags_the_defaults_are_flannelds(settings) -> None:
    found = settings()
    assert found == Settings()
    assert found.etcd_endpoints == ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
    assert found.etcd_prefix == "/coreos.com/network"
    assert found.subnet_file == Path("/run/flannel/subnet.env")
    assert found.subnet_lease_renew_margin == 60
    assert found.renew_margin_seconds == 3600
    assert (found.healthz_ip, found.healthz_port) == ("0.0.0.0", 0)
    assert found.bypass is Bypass.STATELESS


@pytest.mark.parametrize(
    "form",
    [
        ["-etcd-prefix=/net"],
        ["--etcd-prefix=/net"],
        ["-etcd-prefix", "/net"],
        ["--etcd-prefix", "/net"],
    ],
)
def test_go_forms_of_a_value(settings, form) -> None:
    assert settings(*form).etcd_prefix == "/net"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (["-strict"], True),
        (["--strict"], True),
        (["-strict=true"], True),
        (["--strict=1"], True),
        (["-strict=T"], True),
        (["-strict=false"], False),
        (["--strict=0"], False),
        (["-strict", "-datapath=tc"], True),
    ],
)
def test_go_forms_of_a_boolean(settings, form, expected) -> None:
    assert settings(*form).strict is expected


def test_a_value_may_begin_with_a_dash(settings) -> None:
    assert settings("-iface-regex", "-eth").iface_regex == ("-eth",)


def test_repeatable_flags_keep_their_order(settings) -> None:
    found = settings("-iface=eth1", "--iface", "eth0", "-iface-regex=^en p$")
    assert found.iface == ("eth1", "eth0")
    assert found.iface_regex == ("^en p$",)


def test_a_variable_of_a_repeatable_flag_holds_one_value(settings) -> None:
    assert settings(FLANNELD_IFACE_REGEX="^en p$").iface_regex == ("^en p$",)


def test_variables_are_read_and_flags_win(settings) -> None:
    env = {"FLANNELD_ETCD_PREFIX": "/from-env", "FLANNELD_HEALTHZ_PORT": "8081", "FLANNELD_STRICT": "true"}
    found = settings("--etcd-prefix=/from-flag", **env)
    assert found.etcd_prefix == "/from-flag"
    assert found.healthz_port == 8081
    assert found.strict is True
    assert settings("--strict=false", **env).strict is False


def test_an_empty_variable_is_none(settings) -> None:
    assert settings(FLANNELD_PUBLIC_IP="", FLANNELD_ETCD_PREFIX="").etcd_prefix == "/coreos.com/network"


def test_every_value_gets_its_type(settings) -> None:
    found = settings(
        "-etcd-endpoints=http://10.0.0.1:2379, http://10.0.0.2:2379",
        "-public-ip=192.0.2.7",
        "-iface-can-reach=192.0.2.1",
        "-datapath=xdp",
        "-loader=bcc",
        "-run-dir=/run/other",
        "-max-routes=100",
    )
    assert found.etcd_endpoints == ("http://10.0.0.1:2379", "http://10.0.0.2:2379")
    assert found.public_ip == IPv4Address("192.0.2.7")
    assert found.iface_can_reach == IPv4Address("192.0.2.1")
    assert found.datapath is Datapath.XDP
    assert found.loader is LoaderChoice.BCC
    assert found.socket == Path("/run/other/agent.sock")
    assert found.max_routes == 100


def test_the_run_dir_follows_the_instance(settings) -> None:
    assert settings("--instance=blue").run_dir == Path("/run/xdpflannel/blue")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--subnet-lease-renew-margin=0"], "between 1 and 1439"),
        (["--subnet-lease-renew-margin=1440"], "between 1 and 1439"),
        (["--healthz-port=65536"], "between 0 and 65535"),
        (["--healthz-port=http"], "not a valid integer"),
        (["--etcd-endpoints="], "--etcd-endpoints is empty"),
        (["--etcd-endpoints=10.0.0.1:2379"], "not an etcd endpoint"),
        (["--etcd-endpoints=http://10.0.0.1"], "not an etcd endpoint"),
        (["--etcd-endpoints=http://h:99999"], "not an etcd endpoint"),
        (["--etcd-endpoints=http://a:2379,https://b:2379"], "mixes http and https"),
        (["--etcd-prefix=network"], "must be a path"),
        (["--etcd-prefix=/"], "must be a path"),
        (["--etcd-certfile=c.pem"], "belong together"),
        (["--public-ip=fd00::1"], "not an IPv4 address"),
        (["--iface-can-reach=somewhere"], "not an IPv4 address"),
        (["--iface-regex=("], "not a regular expression"),
        (["--instance=a.b"], "cannot name a folder on bpffs"),
        (["--instance=../x"], "cannot name a folder on bpffs"),
        (["--bridge=a name"], "no interface name"),
        (["--metrics-ip=all"], "not an IPv4 address"),
        (["--datapath=fast"], "'auto', 'xdp', 'tc', 'kernel'"),
        (["-strict=maybe"], "neither true nor false"),
        (["-nonsense"], "--nonsense"),
        (["start"], "unexpected extra argument"),
        (["-etcd-prefix"], "requires an argument"),
    ],
)
def test_what_cannot_be_used_is_said_and_exits_2(start, args, said) -> None:
    result = start(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_no_message_repeats_a_password(start) -> None:
    result = start("--etcd-endpoints=http://root:hunter2@10.0.0.1")
    assert result.exit_code == 2
    assert "hunter2" not in result.output
    assert "FLANNELD_ETCD_PASSWORD" in result.stderr


def test_settings_hide_the_password() -> None:
    secret = {"etcd_password": "hunter2"}
    assert "hunter2" not in repr(Settings(**secret))


@pytest.mark.parametrize(
    ("args", "said"),
    [(["--role=accelerate"], "--role=full")],
)
def test_what_is_not_there_yet_exits_4_and_says_what_is(start, args, said) -> None:
    result = start(*args)
    assert result.exit_code == 4
    assert "not there yet" in result.stderr
    assert said in result.stderr


@pytest.mark.parametrize("flag", [flag for flag in FOREIGN_FLAGS if flag.refused], ids=lambda flag: flag.name)
def test_flags_that_would_mislead_are_refused(start, agent, flag) -> None:
    given = f"--{flag.name}" if flag.boolean else f"--{flag.name}=x"
    result = start(given)
    assert result.exit_code == 2
    assert flag.refused in " ".join(result.stderr.split())
    assert agent.settings is None


@pytest.mark.parametrize("flag", [flag for flag in FOREIGN_FLAGS if flag.boolean], ids=lambda flag: flag.name)
def test_their_harmless_value_is_taken(start, flag) -> None:
    assert start(f"-{flag.name}=false").exit_code == 0


@pytest.mark.parametrize("flag", [flag for flag in FOREIGN_FLAGS if flag.note], ids=lambda flag: flag.name)
def test_flags_without_effect_are_taken_and_explained(start, flag) -> None:
    result = start(f"-{flag.name}=1", "-log-format=json")
    assert result.exit_code == 0
    assert "flag.ignored" in result.stderr
    assert flag.note in result.stderr


def test_version() -> None:
    result = CliRunner().invoke(command, ["-version"])
    assert (result.exit_code, result.stdout.strip()) == (0, __version__)


def test_help_teaches() -> None:
    result = CliRunner().invoke(command, ["-help"])
    assert result.exit_code == 0
    for words in ("etcdctl put", "FLANNELD_ETCD_PREFIX", "uninstall", "--datapath"):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_the_agents_status_is_ours(start, agent) -> None:
    agent.ends = 3
    assert start().exit_code == 3


@pytest.mark.parametrize(
    ("error", "status"),
    [(HostError("eth7 is gone", hint="plug it in"), 1), (NotPermitted("no CAP_BPF", hint="run as root"), 4)],
)
def test_our_errors_become_two_lines(start, agent, error, status) -> None:
    agent.ends = error
    result = start()
    assert result.exit_code == status
    assert result.stderr == f"xdpflanneld: {error}\n  {error.hint}\n"


def test_an_unexpected_error_is_one_line_unless_debugging(start, agent) -> None:
    agent.ends = ZeroDivisionError("division by zero")
    short = start()
    assert short.exit_code == 1
    assert "unexpected ZeroDivisionError: division by zero" in short.stderr
    assert "please report" in short.stderr
    assert "Traceback" not in short.stderr
    assert "Traceback" in start("--log-level=debug").stderr


def test_a_rejected_programs_log_is_shown_when_debugging(start, agent) -> None:
    agent.ends = ProgramRejected("pod_egress was rejected", log="R1 invalid mem access", hint="report it")
    assert "R1 invalid" not in start().stderr
    assert "R1 invalid" in start("--log-level=debug").stderr
