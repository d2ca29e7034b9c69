"""A throw-away SLURM on this machine: munge, one controller, one daemon a node. Nothing outlives `cluster`.

Needs root and Debian's packages: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm import alone

ETC = Path("/etc/slurm")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

# Beside what every slurm.conf has:
# - credentials expire soon, or a job that is queued again waits for two minutes;
# - no daemon listens on another address than loopback;
# - memory is shared out, or one job takes a node; the job's memory is watched, by sampling and without cgroups;
# - finished jobs stay visible, since Snakemake asks squeue for them (there is no accounting database);
# - a job of a partition with a higher tier takes the place of one with a lower tier;
# - a node whose daemon is silent for 20 s is down.
CONF = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
GresTypes=gpu
MinJobAge=3600
ReturnToService=1
KillWait=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=20
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} RealMemory=64000"
# Node → its CPUs and more. Their memory, too, is only said to be there: all share this machine. The GPUs are names for
# /dev/null: they show what is asked for and given, and compute nothing.
NODES = {
    "plain": "CPUs=4",
    "idle": "CPUs=1",
    "pretended": "CPUs=4 Gres=gpu:pretended:2",
    "faulty": "CPUs=8",
    "downed": "CPUs=2",
    "silenced": "CPUs=2 Weight=1",
    "spare": "CPUs=2 Weight=2",
    "lent": "CPUs=1",
    "taken": "CPUs=1",
}
PARTITIONS = {
    "nowhere": "Nodes=idle Default=YES",
    "main": "Nodes=plain",
    "gpu": "Nodes=pretended",
    "faults": "Nodes=faulty",
    "down": "Nodes=downed",
    "silent": "Nodes=silenced,spare",
    "requeues": "Nodes=lent PriorityTier=1 PreemptMode=REQUEUE",
    "cancels": "Nodes=taken PriorityTier=1 PreemptMode=CANCEL",
    "urgent": "Nodes=lent,taken PriorityTier=10",
}


def missing() -> str | None:
    """Why no cluster can be started here; None where it can."""
    absent = [name for name in DAEMONS if not shutil.which(name, path=_path())]
    if absent:
        packages = "slurmctld slurmd slurm-client munge"
        return f"{', '.join(absent)} not found: apt-get install --no-install-recommends {packages}"
    if os.geteuid():
        return "starting SLURM's daemons needs root"
    if (ETC / "slurm.conf").exists() and not alone.possible():
        return f"{ETC / 'slurm.conf'} exists: this machine has a SLURM of its own"
    return None


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Run a cluster with its files in `folder`, with NODES in PARTITIONS."""
    folder.mkdir(parents=True)
    host, ports = socket.gethostname().split(".")[0], _free_ports(1 + len(NODES))
    (folder / "state").mkdir()
    lines = [CONF.format(host=host, folder=folder, ports=ports)]
    for (name, more), port in zip(NODES.items(), ports[1:], strict=True):
        (folder / f"spool.{name}").mkdir()
        lines.append(NODE.format(name=name, host=host, port=port) + f" {more}\n")
    lines += [f"PartitionName={name} {more} DefaultTime=5\n" for name, more in PARTITIONS.items()]
    (folder / "slurm.conf").write_text("".join(lines))
    for gpu in range(2):
        os.mknod(folder / f"gpu{gpu}", 0o20666, os.makedev(1, 3))  # SLURM takes character devices only
    (folder / "gres.conf").write_text(f"NodeName=pretended Name=gpu Type=pretended File={folder}/gpu[0-1]\n")
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(1024))
    try:
        # Snakemake's plugin takes SLURM_CONF away from its jobs: only this place is found by all
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).symlink_to(folder / name)
        _start(
            *("munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
            *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"),
        )
        start_controller()
        for name in NODES:
            start_node(name)
        wait_until(lambda: states(*NODES) == {"idle"}, "the nodes to be idle")
        yield folder
    finally:
        with contextlib.suppress(subprocess.SubprocessError, RuntimeError, TimeoutError):
            subprocess.run(["scancel", "--user=root"], timeout=10, capture_output=True)
            wait_until(lambda: not output("squeue", "--noheader"), "the jobs to end", 20)
        for names in ([f"slurmd.{name}" for name in NODES], ["slurmctld"], ["munged"]):
            _stop(*(folder / f"{name}.pid" for name in names))
        for name in ("slurm.conf", "gres.conf"):
            if (ETC / name).is_symlink() and (ETC / name).readlink() == folder / name:
                (ETC / name).unlink()


def start_controller() -> None:
    _start("slurmctld")


def stop_controller(folder: Path) -> None:
    """Take the controller away; its nodes and their jobs go on."""
    _stop(folder / "slurmctld.pid")


def start_node(name: str) -> None:
    _start("slurmd", "-N", name)


def kill_daemon(folder: Path, name: str) -> None:
    """Kill a node's daemon; its jobs go on."""
    os.kill(int((folder / f"slurmd.{name}.pid").read_text()), signal.SIGKILL)


def states(*nodes: str) -> set[str]:
    """What the controller says of these nodes: idle, alloc, mix, down, …; `*` at the end if a node does not answer."""
    return set(output("sinfo", "--noheader", "--Node", "--format=%t", f"--nodes={','.join(nodes)}").split())


def jobs(folder: Path) -> dict[str, dict[str, str]]:
    """SLURM's jobs, ended ones too, that were submitted from a folder: number → what is known of it."""
    fields = {
        "state": "%T",
        "node": "%N",
        "threads": "%C",
        "memory": "%m",
        "limit": "%l",
        "partition": "%P",
        "comment": "%k",
        "name": "%j",
    }
    listed = output("squeue", "--noheader", "--states=all", f"--format=%A|%Z|{'|'.join(fields.values())}")
    rows = sorted((line.split("|") for line in listed.splitlines()), key=lambda row: int(row[0]))
    return {row[0]: dict(zip(fields, row[2:], strict=True)) for row in rows if row[1] == str(folder)}


def output(*command: str) -> str:
    """What a command of SLURM's prints."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {ran.returncode}: {ran.stderr}")
    return ran.stdout


def wait_until(true: Callable[[], object], what: str, seconds: float = 1800) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.2)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _start(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": _path()})
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {ran.returncode}: {ran.stdout}{ran.stderr}")


def _stop(*pid_files: Path) -> None:
    """End the processes of these files, and wait until they are gone."""
    processes = []
    for file in pid_files:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            processes.append(int(file.read_text()))
            os.kill(processes[-1], signal.SIGTERM)
    deadline = time.monotonic() + 10
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(process, 0)
                time.sleep(0.05)
            os.kill(process, signal.SIGKILL)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    print(missing() or "", end="")
