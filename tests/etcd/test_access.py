"""TLS and passwords."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from xdpflannel.errors import ConfigError, StoreDenied, StoreUnavailable
from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.model.lease import Lease

MakeLease = Callable[..., Lease]
OpenStore = Callable[..., EtcdStore]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, other-ca.pem, and server.pem and client.pem by ca.pem, each with its .key."""
    folder = tmp_path_factory.mktemp("lz-tls")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n"
    (folder / "names").write_text(names)
    for name in ("ca", "other-ca"):
        openssl(*request(folder, name), "-x509", "-days", 2, "-out", folder / f"{name}.pem")
    for name in ("server", "client"):
        openssl(*request(folder, name), "-out", folder / f"{name}.csr")
        signer = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", 2)
        files = ("-in", folder / f"{name}.csr", "-out", folder / f"{name}.pem", "-extfile", folder / "names")
        openssl("x509", "-req", *signer, *files)
    return folder


def request(folder: Path, name: str) -> tuple[object, ...]:
    key = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        folder / f"{name}.key",
    )
    return ("req", *key, "-subj", f"/CN={name}")


def server_files(certificates: Path) -> list[str]:
    return [f"--cert-file={certificates / 'server.pem'}", f"--key-file={certificates / 'server.key'}"]


def use_tls(etcd, certificates: Path) -> None:
    """etcdctl's flags for the health check."""
    inner = etcd.ctl
    files = [f"--cacert={certificates / 'ca.pem'}", f"--cert={certificates / 'client.pem'}"]
    etcd.ctl = lambda *arguments, **options: inner(
        *files, f"--key={certificates / 'client.key'}", *arguments, **options
    )


def test_a_ca_alone_is_enough(
    new_etcd, certificates: Path, open_store: OpenStore, make_lease: MakeLease
) -> None:
    etcd = new_etcd(*server_files(certificates), tls=True)
    use_tls(etcd, certificates)
    etcd.start()
    store = open_store(etcd, ca_file=certificates / "ca.pem")
    store.create(make_lease(), 600)
    assert store.snapshot().leases == (make_lease(),)
    by_name = EtcdOptions((f"localhost:{etcd.port}",), ca_file=certificates / "ca.pem")
    with EtcdStore(by_name) as named:
        assert named.endpoint == f"https://localhost:{etcd.port}"
    with pytest.raises(StoreUnavailable) as caught:
        open_store(etcd, ca_file=certificates / "other-ca.pem")
    assert "certificate" in caught.value.hint
    with pytest.raises(StoreUnavailable) as caught:
        EtcdStore(EtcdOptions((f"http://127.0.0.1:{etcd.port}",)))
    assert "https://" in caught.value.hint


def test_client_certificates(
    new_etcd, certificates: Path, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    ca_file = certificates / "ca.pem"
    etcd = new_etcd(
        *server_files(certificates), "--client-cert-auth", f"--trusted-ca-file={ca_file}", tls=True
    )
    use_tls(etcd, certificates)
    etcd.start()
    files = {
        "ca_file": ca_file,
        "cert_file": certificates / "client.pem",
        "key_file": certificates / "client.key",
    }
    follow(sink, etcd, **files)
    open_store(etcd, **files).create(make_lease(), 600)
    sink.until(lambda s: s.leases())
    with pytest.raises(StoreUnavailable) as caught:
        open_store(etcd, ca_file=ca_file)
    assert "certificate" in caught.value.hint
    with pytest.raises(ConfigError, match=r"missing\.pem cannot be read"):
        open_store(etcd, ca_file=certificates / "missing.pem")


def with_passwords(etcd) -> None:
    etcd.ctl("user", "add", "root:rootpw")
    etcd.ctl("user", "add", "flannel:s3cret")
    etcd.ctl("role", "add", "flannel")
    etcd.ctl("role", "grant-permission", "flannel", "--prefix=true", "readwrite", "/coreos.com/network")
    etcd.ctl("user", "grant-role", "flannel", "flannel")
    etcd.ctl("user", "grant-role", "root", "root")
    etcd.ctl("auth", "enable")


@pytest.mark.parametrize("tls", [True, False])
def test_passwords_also_after_a_restart(
    new_etcd, certificates: Path, open_store: OpenStore, make_lease: MakeLease, sink, follow, tls: bool
) -> None:
    etcd = new_etcd(*(server_files(certificates) if tls else ()), tls=tls)
    files = {"ca_file": certificates / "ca.pem"} if tls else {}
    if tls:
        use_tls(etcd, certificates)
    etcd.start()
    with_passwords(etcd)
    user = {"username": "flannel", "password": "s3cret", **files}
    store = open_store(etcd, **user)
    follow(sink, etcd, heartbeat=0.5, **user)
    store.create(make_lease("10.5.1.0/24"), 600)
    sink.until(lambda s: s.health() == [True] and sorted(s.leases()) == ["10.5.1.0/24"])
    etcd.kill()
    sink.until(lambda s: s.health() == [True, False])
    etcd.launch()  # tokens are lost now
    sink.until(lambda s: s.health()[-1])
    store = open_store(etcd, **user)
    store.overwrite(make_lease("10.5.2.0/24"), 600)
    sink.until(lambda s: len(s.leases()) == 2)


def test_a_lost_token_is_renewed_in_place(new_etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    etcd = new_etcd("--auth-token-ttl=1")
    etcd.start()
    with_passwords(etcd)
    store = open_store(etcd, username="flannel", password="s3cret")  # noqa: S106 - a test's
    etcd.ctl("--user=root:rootpw", "user", "add", "somebody:else")  # the auth store's revision moves on
    store.create(make_lease(), 600)
    with store.watch(store.revision()):
        pass


def test_who_may_not_is_denied(new_etcd, open_store: OpenStore) -> None:
    etcd = new_etcd()
    etcd.start()
    with_passwords(etcd)
    for user in (
        {},
        {"username": "flannel", "password": "wrong"},
        {"username": "nobody", "password": "x"},
        {"username": "flannel", "password": "s3cret", "prefix": "/elsewhere"},
    ):
        with pytest.raises(StoreDenied) as caught:
            open_store(etcd, **user)
        assert "credentials" in str(caught.value)
        assert "s3cret" not in str(caught.value) + caught.value.hint


def test_a_password_is_no_harm_where_none_is_asked(etcd, open_store: OpenStore) -> None:
    assert open_store(etcd, username="flannel", password="s3cret").revision() > 0  # noqa: S106 - a test's
