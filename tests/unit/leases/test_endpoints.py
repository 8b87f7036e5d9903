import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.errors import ConfigError
from xdpflannel.leases.endpoints import EtcdOptions


def urls(*endpoints: str, **options: object) -> list[str]:
    return [str(member) for member in EtcdOptions(endpoints, **options).members()]


def test_urls() -> None:
    assert urls(
        "http://127.0.0.1:4001", " https://etcd-1.example:2379/ ", "10.0.0.1", "http://[fd00::1]:2379"
    ) == [
        "http://127.0.0.1:4001",
        "https://etcd-1.example:2379",
        "http://10.0.0.1:2379",
        "http://[fd00::1]:2379",
    ]


def test_repeated_and_empty_endpoints_are_left_out() -> None:
    assert urls("http://a:1", "", "http://a:1", "http://b") == ["http://a:1", "http://b:2379"]


def test_tls_files_make_tls_the_default() -> None:
    assert urls("10.0.0.1:2379", ca_file=Path("ca.pem")) == ["https://10.0.0.1:2379"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoints": ()}, "no etcd endpoint"),
        ({"endpoints": ("unix:///run/etcd",)}, "neither http nor https"),
        ({"endpoints": ("http://",)}, "not a host and a port"),
        ({"endpoints": ("http://a:99999",)}, "cannot be read"),
        ({"endpoints": ("http://a:b",)}, "cannot be read"),
        ({"endpoints": ("http://a:0",)}, "not a host and a port"),
        ({"endpoints": ("http://[fd00::zz]:1",)}, "cannot be read|not a host"),
        ({"endpoints": ("http://a b:1",)}, "not a host and a port"),
        ({"endpoints": ("http://a:1/v3",)}, "not a host and a port"),
        ({"endpoints": ("http://root:pw@a:1",)}, "carries a user name"),
        ({"cert_file": Path("c.pem")}, "certificate is given without its key"),
        ({"key_file": Path("k.pem")}, "key is given without its certificate"),
        ({"username": "root"}, "together"),
        ({"password": "pw"}, "together"),
        ({"prefix": "/"}, "empty"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_what_cannot_be_used(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        EtcdOptions(**options).members()
    assert caught.value.hint
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(("prefix", "folder"), [("/a/b/", "/a/b"), ("//a//b", "/a/b"), ("a", "a")])
def test_the_prefix_is_joined_as_flannel_does(prefix: str, folder: str) -> None:
    assert EtcdOptions(prefix=prefix).folder == folder


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(EtcdOptions(username="root", password="secret"))  # noqa: S106 - a test's


@given(st.text())
def test_any_endpoint_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert EtcdOptions((text,)).members()
