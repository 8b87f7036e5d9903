"""The archive that a machine boots from, and the order of its modules."""

import pytest
from kernels import initramfs, packages


def entries_of(archive):
    """Name, mode, content and device of each entry."""
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * number : at + 14 + 8 * number], 16) for number in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return
        yield name, fields[1], archive[start : start + size], tuple(fields[9:11])
        at = (start + size + 3) // 4 * 4


def test_archive_holds_what_was_put_in():
    entries = [("bin", None, 0o755), ("bin/tool", b"#!odd\n", 0o755), ("init", b"1234", 0o644)]
    assert list(entries_of(initramfs.archive(entries))) == [
        ("dev", 0o040755, b"", (0, 0)),
        ("dev/console", 0o020600, b"", (5, 1)),
        ("bin", 0o040755, b"", (0, 0)),
        ("bin/tool", 0o100755, b"#!odd\n", (0, 0)),
        ("init", 0o100644, b"1234", (0, 0)),
    ]


def test_modules_come_after_what_they_need(tmp_path):
    top = tmp_path / "usr" / "lib" / "modules" / "6.1.0-1-amd64"
    (top / "kernel").mkdir(parents=True)
    needs = {"9p": "net netfs", "net": "", "netfs": "fscache", "fscache": "", "left-out": ""}
    lines = [
        f"kernel/{name}.ko: {' '.join(f'kernel/{other}.ko' for other in others.split())}"
        for name, others in needs.items()
    ]
    # As depmod writes it: all that is needed, also by what is needed, the first to load comes last.
    lines[0] = "kernel/9p.ko: kernel/netfs.ko kernel/fscache.ko kernel/net.ko"
    (top / "modules.dep").write_text("\n".join(lines))
    for name in needs:
        (top / "kernel" / f"{name}.ko").write_bytes(name.encode())
    kernel = packages.Kernel("6.1", "", "6.1.0-1-amd64", tmp_path / "vmlinuz", tmp_path)
    found = packages.modules_for(kernel, ("fscache", "9p", "built_in"))
    assert [name for name, _ in found] == ["fscache.ko", "net.ko", "netfs.ko", "9p.ko"]


@pytest.mark.parametrize(
    ("series", "names", "newest"),
    [
        ("6.1", ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64"], "linux-image-6.1.0-10-amd64"),
        ("6.1", ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-9-amd64-dbg"], None),
        (
            "6.12",
            ["linux-image-6.12.9+deb12-amd64", "linux-image-6.12.11+deb12-amd64-unsigned"],
            "linux-image-6.12.9+deb12-amd64",
        ),
        ("6.1", ["linux-image-6.12.9+deb12-amd64"], None),
    ],
)
def test_newest_plain_kernel(series, names, newest):
    assert packages._newest(names, series) == newest
