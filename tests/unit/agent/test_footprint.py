"""The record of what an instance has made."""

import pytest

from xdpflannel.agent import footprint
from xdpflannel.errors import HostError


def record(**wanted):
    values = {"instance": "i", "bpffs": "/sys/fs/bpf", "subnet_file": "/run/flannel/subnet.env", **wanted}
    return footprint.Footprint(**values)


def test_devices_of_former_runs_stay_in_it(tmp_path):
    footprint.write(tmp_path, record())
    footprint.add_device(tmp_path, "flannel.1", "02:00:00:00:00:01")
    footprint.write(tmp_path, record(subnet_file="/elsewhere"))
    footprint.add_device(tmp_path, "flannel.7", "02:00:00:00:00:07")
    footprint.add_device(tmp_path, "flannel.1", "02:00:00:00:00:02")
    found = footprint.read(tmp_path)
    assert found.devices == {"flannel.1": "02:00:00:00:00:02", "flannel.7": "02:00:00:00:00:07"}
    assert found.subnet_file == "/elsewhere"


@pytest.mark.parametrize("text", [None, "", "{", '{"instance": 1}'])
def test_none_or_unreadable(tmp_path, text):
    if text is not None:
        (tmp_path / "footprint.json").write_text(text)
    assert footprint.read(tmp_path) is None
    footprint.add_device(tmp_path, "flannel.1", "02:00:00:00:00:01")
    footprint.write(tmp_path, record())
    assert footprint.read(tmp_path) == record()


def test_forget_leaves_what_others_put_there(tmp_path):
    folder = tmp_path / "run" / "i"
    with footprint.lock(folder), pytest.raises(HostError, match="another agent"):
        footprint.lock(folder)
    footprint.write(folder, record())
    (folder / "notes").write_text("")
    footprint.forget(folder)
    assert [path.name for path in folder.iterdir()] == ["notes"]
    (folder / "notes").unlink()
    footprint.forget(folder)
    assert not folder.exists()
    assert folder.parent.exists()
