"""A throw-away SLURM on this machine: munge, one controller, one node a daemon. Nothing outlives `cluster`.

Needs root and Debian's packages: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ETC = Path("/etc/slurm")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

# Beside what every slurm.conf has:
# - credentials expire soon, or a job that is queued again waits for two minutes;
# - no daemon listens on another address than loopback;
# - memory is shared out, or one job takes a node; the job's memory is watched, by sampling and without cgroups;
# - finished jobs stay visible, since Snakemake asks squeue for them (there is no accounting database).
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
JobAcctGatherFrequency=task=2
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
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory}"


def missing() -> str | None:
    """Why no cluster can be started here; None where it can."""
    absent = [name for name in DAEMONS if not shutil.which(name, path=_path())]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid():
        return "starting SLURM daemons needs root"
    if (ETC / "slurm.conf").exists():
        return f"{ETC / 'slurm.conf'} exists: this machine has a SLURM of its own"
    return None


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 4, memory: int = 8000, gpus: int = 2) -> Iterator[None]:
    """Run a cluster with its files in `folder`: partition `main`, node `plain`; partition `gpu`, node `pretended`.

    The GPUs are names for /dev/null. They show what is asked for and given, and compute nothing.
    """
    folder.mkdir(parents=True)
    host, ports = socket.gethostname().split(".")[0], _free_ports(3)
    (folder / "state").mkdir()
    lines = [CONF.format(host=host, folder=folder, ports=ports)]
    for name, port, more in (("plain", ports[1], ""), ("pretended", ports[2], f" Gres=gpu:{gpus}")):
        (folder / f"spool.{name}").mkdir()
        lines.append(NODE.format(name=name, host=host, port=port, cpus=cpus, memory=memory) + more + "\n")
    lines.append("PartitionName=main Nodes=plain Default=YES MaxTime=60 DefaultTime=5\n")
    lines.append("PartitionName=gpu Nodes=pretended MaxTime=60 DefaultTime=5\n")
    (folder / "slurm.conf").write_text("".join(lines))
    for gpu in range(gpus):
        os.mknod(folder / f"gpu{gpu}", 0o20666, os.makedev(1, 3))  # SLURM takes character devices only
    (folder / "gres.conf").write_text(f"NodeName=pretended Name=gpu File={folder}/gpu[0-{gpus - 1}]\n")
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(1024))
    started = []
    try:
        # Snakemake's plugin takes SLURM_CONF away from its jobs: only this place is found by all
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).symlink_to(folder / name)
        _start(
            *("munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
            *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"),
        )
        started.append("munged")
        _start("slurmctld", "-i")
        started.append("slurmctld")
        for name in ("plain", "pretended"):
            _start("slurmd", "-N", name)
            started.append(f"slurmd.{name}")
        _wait_until(lambda: _states() == {"idle"}, "the nodes to be idle")
        yield
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", "--user=root"], timeout=10, capture_output=True)
        for name in reversed(started):
            _stop(folder / f"{name}.pid")
        for name in ("slurm.conf", "gres.conf"):
            if (ETC / name).is_symlink() and (ETC / name).readlink() == folder / name:
                (ETC / name).unlink()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _start(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": _path()})
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {ran.returncode}: {ran.stdout}{ran.stderr}")


def _stop(pid_file: Path) -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        process = int(pid_file.read_text())
        os.kill(process, signal.SIGTERM)
        for _ in range(100):
            os.kill(process, 0)
            time.sleep(0.1)
        os.kill(process, signal.SIGKILL)


def _states() -> set[str]:
    listed = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%t"], capture_output=True, text=True)
    return set(listed.stdout.split())


def _wait_until(true, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
