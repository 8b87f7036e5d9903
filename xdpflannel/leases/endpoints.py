"""Where etcd is and how to talk to it: flannel's --etcd-* flags as one checked value."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from xdpflannel.errors import ConfigError

DEFAULT_ENDPOINTS = ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
"""flannel's; 4001 is etcd's port of before 2015."""

DEFAULT_PREFIX = "/coreos.com/network"
DEFAULT_PORT = 2379
DEFAULT_TIMEOUT = 5.0
"""Seconds; etcd itself gives up on a request without a leader after about 7."""

_FORM = "write http://HOST:PORT or https://HOST:PORT, several with commas between"


@frozen
class Endpoint:
    """One etcd member. ``host`` is a name or an address (IPv6 without brackets)."""

    host: str
    port: int
    tls: bool

    @property
    def target(self) -> str:
        """HOST:PORT, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.target}"


@frozen
class EtcdOptions:
    """How to reach etcd. ``endpoints`` are URLs; files are PEM; ``timeout`` is each request's, in seconds.

    A certificate needs its key and the other way round. A CA alone is enough to talk TLS.
    """

    endpoints: tuple[str, ...] = DEFAULT_ENDPOINTS
    prefix: str = DEFAULT_PREFIX
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = DEFAULT_TIMEOUT

    def members(self) -> tuple[Endpoint, ...]:
        """The endpoints, read and checked.

        Raises:
            ConfigError: there is none or one of them cannot be read, or options do not fit together.
        """
        self._check()
        has_tls_files = self.ca_file is not None or self.cert_file is not None
        members = (_endpoint(text, tls=has_tls_files) for text in self.endpoints if text.strip())
        found = tuple(dict.fromkeys(members))
        if not found:
            raise ConfigError("no etcd endpoint is given", hint=_FORM)
        return found

    @property
    def folder(self) -> str:
        """The prefix as flannel joins it: slashes collapsed, none at the end."""
        return re.sub("/+", "/", self.prefix).rstrip("/")

    def _check(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            have, lacks = ("certificate", "key") if self.key_file is None else ("key", "certificate")
            raise ConfigError(
                f"an etcd client {have} is given without its {lacks}",
                hint="give both --etcd-certfile and --etcd-keyfile, or neither",
            )
        if bool(self.username) != bool(self.password):
            raise ConfigError(
                "etcd's user name and password must be given together",
                hint="give both --etcd-username and --etcd-password, or neither",
            )
        if not self.folder:
            raise ConfigError(
                f'the etcd prefix "{self.prefix}" is empty', hint=f"flannel's is {DEFAULT_PREFIX}"
            )
        if self.timeout <= 0:
            raise ConfigError(f"the etcd timeout {self.timeout} s is not above zero", hint="5 is usual")


def _endpoint(text: str, *, tls: bool) -> Endpoint:
    """One URL; without a scheme TLS is used if ``tls``."""
    text = text.strip()
    url = text if "://" in text else f"{'https' if tls else 'http'}://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f'etcd endpoint "{text}" cannot be read: {error}', hint=_FORM) from None
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(f'etcd endpoint "{text}" is neither http nor https', hint=_FORM)
    if parts.username is not None:
        raise ConfigError("an etcd endpoint carries a user name", hint="use --etcd-username, --etcd-password")
    if not host or parts.path.strip("/") or parts.query or parts.fragment or port == 0 or not _is_host(host):
        raise ConfigError(f'etcd endpoint "{text}" is not a host and a port', hint=_FORM)
    return Endpoint(host, port or DEFAULT_PORT, tls=parts.scheme == "https")


def _is_host(host: str) -> bool:
    if ":" not in host:
        return re.fullmatch(r"[0-9A-Za-z._-]+", host) is not None
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
