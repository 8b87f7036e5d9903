"""Kernel settings, on a copy of the tree."""

import pytest

from xdpflannel.host import sysctl


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "net/ipv4"
    folder.mkdir(parents=True)
    (folder / "ip_forward").write_text("0\n")
    (folder / "ip_local_port_range").write_text("32768\t60999\n")
    return tmp_path


def test_read_and_write(root):
    assert not sysctl.ip_forward(root=root)
    assert sysctl.write("net/ipv4/ip_forward", "1", root=root)
    assert sysctl.ip_forward(root=root)


def test_port_range(root):
    assert sysctl.local_port_range(root=root) == (32768, 60999)


def test_what_this_kernel_has_not(root):
    assert sysctl.read("net/ipv6/none", root=root) is None
    assert not sysctl.write("net/ipv6/none", "0", root=root)
    assert not (root / "net/ipv6").exists()


def test_the_real_one():
    first, last = sysctl.local_port_range()
    assert 0 < first < last < 65536
