"""A Slurm of four nodes on this machine: a controller and a daemon a node, as root."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.serving import free_port

NODES = ("n1", "n2", "n3", "n4")
SETTINGS = {
    "DISTILLERY_GATEWAY_LEASE_SECONDS": "15",
    "DISTILLERY_GATEWAY_PAGE": "false",
    "DISTILLERY_LABELLER_SELF_TEST": "false",
}
"""Of jobs: the dead are missed soon, and nothing is done that no test looks at."""
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
_CONF = """\
ClusterName=distillery
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
JobRequeue=1
MailProg=/bin/true
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=3
SlurmdParameters=config_overrides
{nodes}
PartitionName=all Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP
"""


def find_missing() -> str | None:
    """What keeps such a cluster from being started here; None if nothing does."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurm-wlm)"
    return None if os.geteuid() == 0 else "Slurm's daemons need root"


class Cluster:
    """The daemons, and Slurm's commands that ask them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        """Start all, and wait until every node is idle."""
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(f"NodeName={n} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 RealMemory=8000" for n in NODES)
        conf = _CONF.format(folder=self._folder, host=host, controller=free_port(), nodes=nodes)
        (self._folder / "slurm.conf").write_text(conf)
        (self._folder / "state").mkdir()
        _start_munge()
        self._start("slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: self.ask("sinfo", "--noheader", "--format=%t").split() == ["idle"], "all nodes are idle")

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        (self._folder / f"spool-{node}").mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """As if a node died: its daemon and all that it runs."""
        daemon = self._daemons[f"slurmd-{node}"]
        daemon.kill()
        daemon.wait(30)
        own = [process for process in psutil.process_iter() if _runs_on(process, node)]
        watchers = [parent for process in own for parent in _find_watchers(process)]
        for process in (*watchers, *own):  # first those that would tell the controller how the others ended
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def end(self) -> None:
        """End the jobs and all daemons."""
        self.ask("scancel", "--user=root")
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            daemon.wait(30)

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        return subprocess.run(command, env=self.env, stdout=subprocess.PIPE, text=True, check=False, timeout=60).stdout

    def _start(self, *command: str) -> None:
        name = f"slurmd-{command[-1]}" if command[0] == "slurmd" else command[0]
        with (self._folder / f"{name}.out").open("wb") as log:
            self._daemons[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)


def _runs_on(process: psutil.Process, node: str) -> bool:
    """Whether a process is a job's on this node."""
    with suppress(psutil.Error):
        return process.environ().get("SLURMD_NODENAME") == node
    return False


def _find_watchers(process: psutil.Process) -> list[psutil.Process]:
    """Slurm's own process above a job's, if it is the topmost; its environment says nothing."""
    with suppress(psutil.Error):
        return [parent for parent in process.parents() if parent.name().startswith("slurmstepd")]
    return []


def _start_munge() -> None:
    """Unless it runs; as the user munge, whose its folders are."""
    if not _is_munge_up():
        subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge"], check=True)
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "/usr/sbin/munged"], check=True)


def _is_munge_up() -> bool:
    return subprocess.run(["munge", "-n"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.1)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster until the block ends."""
    cluster = Cluster(folder)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()
