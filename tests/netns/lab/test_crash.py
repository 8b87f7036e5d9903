"""Whatever is killed, and whenever: `down` leaves nothing, and takes nothing that is not the lab's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xdpflannel import lab
from xdpflannel.host.namespace import NETNS_DIR, exists
from xdpflannel.lab import processes, state

UP = """
import sys
from xdpflannel import lab
lab.up(lab.LabSpec(name=sys.argv[1], nodes=3, pods=2, datapath="kernel"),
       progress=lambda step: print(step, flush=True))
print("up", flush=True)
"""


def start_up(name):
    return subprocess.Popen(
        [sys.executable, "-c", UP, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.parametrize("step", ["making", "starting etcd", "starting 3", "waiting", "up"])
def test_up_is_killed(lab_name, step):
    with start_up(lab_name) as up:
        for line in up.stdout:
            if line.startswith(step):
                break
        up.kill()
    assert lab_name in lab.names()
    lab.down(lab_name)


@pytest.mark.parametrize("milliseconds", [5, 20, 40, 80, 160])
def test_up_is_killed_at_any_moment(lab_name, milliseconds):
    with start_up(lab_name) as up:
        up.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(milliseconds / 1000)
        up.kill()
    lab.down(lab_name)


def test_everything_in_it_is_killed(spec, lab_name):
    built = lab.up(spec(nodes=2))
    for process in state.load(lab_name).record.processes.values():
        os.kill(process.pid, signal.SIGKILL)
    processes.end(state.load(lab_name).record.processes.values())
    status = lab.status(built)
    assert not status.healthy
    assert not status.etcd_running
    assert [node.pid for node in status.nodes] == [None, None]
    lab.down(lab_name)


def test_what_users_started_inside_ends(spec, lab_name):
    built = lab.up(spec(nodes=1))
    pod = built.node(1).pods[0].netns
    with subprocess.Popen(lab.command(built, pod, ["sleep", "1000"])) as sleeper:
        lab.down(lab_name)
        assert sleeper.wait(5) == -signal.SIGKILL


def test_a_namespace_made_anew_by_somebody_else_stays(spec, lab_name, make_namespace):
    built = lab.up(spec(nodes=1))
    pod = built.node(1).pods[0].netns
    subprocess.run(["ip", "netns", "del", pod], check=True)
    assert lab.status(built).missing == (pod,)
    foreign = make_namespace(pod)
    lab.down(lab_name)
    assert exists(foreign.name)
    assert not exists(f"{lab_name}-node1")


def test_a_reused_process_id_is_not_killed(spec, lab_name):
    lab.up(spec(nodes=1, pods=0))
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        found = state.load(lab_name)
        found.record.processes["old"] = state.Process(bystander.pid, 1)
        found.save()
        lab.down(lab_name)
        assert bystander.poll() is None
        bystander.kill()


def test_pins_and_run_folders_go(spec, lab_name):
    lab.up(spec(nodes=1, datapath="tc", bypass="stateless"))
    pins = Path("/sys/fs/bpf/xdpflannel") / f"{lab_name}-node1"
    run_dir = Path("/run/xdpflannel") / f"{lab_name}-node1"
    assert pins.is_dir()
    assert run_dir.is_dir()
    lab.down(lab_name)
    assert not pins.exists()
    assert not run_dir.exists()
    assert not list(NETNS_DIR.glob(f"{lab_name}-*"))
