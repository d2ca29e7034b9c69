"""A training job on the throw-away cluster, what befalls it in its middle, and how that ends."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.checkout import Checkout, Ran, environment
from slurm import cluster

PROFILE = ["--profile", "profiles/slurm", "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "2"]
TARGET = "results/normal/run_001/training_log.csv"
FOLDER = "results/normal/run_001"
STATE = f"{FOLDER}/.training_state.safetensors"
LOG = "results/logs/train/normal_001.log"
# long enough to be caught in its middle, wherever that is
OVERLAY = "overwrite: true\nexperiments: {normal: {steps: 6000}}\ntraining: {device: cpu, checkpoint_seconds: 0.1}\n"
_SCRIPT = re.compile(rb"\0[^ \0]*\.train\.py\0$")  # the last argument of a Python; not of the shell that starts it


class Training:
    """Snakemake, training one run on a partition; `hold` stops the training in its middle, until `release`."""

    def __init__(self, checkout: Checkout, partition: str, resources: str = "", arguments: tuple[str, ...] = ()):
        self.checkout, self.began = checkout, time.monotonic()
        more = [f"train:{resources}"] if resources else []
        self.arguments = [TARGET, *PROFILE, *arguments, "--set-resources", f"train:slurm_partition={partition}", *more]
        for name in ("embedding_evolution.safetensors", "training_log.csv"):
            checkout.path(f"{FOLDER}/{name}").unlink(missing_ok=True)
        checkout.path("overlay.yaml").write_text(OVERLAY)
        self.start()

    def start(self) -> None:
        """Start Snakemake, as a user does, from whatever has been made so far."""
        with open(self.checkout.path("said.txt"), "a") as said:
            self.snakemake = subprocess.Popen(
                self.checkout.command(*self.arguments, overlay="overlay.yaml"),
                cwd=self.checkout.folder,
                env=environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.checkout.path("said.txt").read_text()

    @property
    def log(self) -> str:
        return self.checkout.path(LOG).read_text()

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        return cluster.jobs(self.checkout.folder)

    @property
    def pids(self) -> list[int]:
        """Processes that train in this checkout."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._trains(path)]

    def _trains(self, process: Path) -> bool:
        try:
            here = process.joinpath("cwd").resolve() == self.checkout.folder.resolve()
            return here and bool(_SCRIPT.search(process.joinpath("cmdline").read_bytes()))
        except OSError:
            return False

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait while Snakemake runs."""
        cluster.wait_until(lambda: self._running(what) and true(), f"{what}; Snakemake said:\n{self.said}")

    def _running(self, what: str) -> bool:
        assert self.snakemake.poll() is None, f"Snakemake ended before {what}:\n{self.said}"
        return True

    def hold(self) -> str:
        """Stop the training once it has saved a state; return the number of SLURM's job."""
        self.until(self.checkout.path(STATE).exists, "a saved state")
        (self.held,) = self.pids
        os.kill(self.held, signal.SIGSTOP)
        assert self.checkout.path(STATE).exists()  # it was not done by then
        (job,) = [number for number, job in self.jobs.items() if job["state"] == "RUNNING"]
        return job

    def release(self) -> None:
        os.kill(self.held, signal.SIGCONT)

    def finish(self) -> "Training":
        self.snakemake.wait(1800)
        self.seconds = time.monotonic() - self.began
        return self

    @property
    def resumed(self) -> str:
        """The step that the last attempt says it resumed after."""
        steps = re.findall(r"resumes after step ([\d,]+)", self.log)
        return steps[0] if steps else ""


def scancel(training: Training, folder: Path) -> None:
    cluster.output("scancel", training.hold())


def requeue(training: Training, folder: Path) -> None:
    cluster.output("scontrol", "requeue", training.hold())


def over_time(training: Training, folder: Path) -> None:
    cluster.output("scontrol", "update", f"JobId={training.hold()}", "TimeLimit=1")  # held until its minute is over


def over_memory(training: Training, folder: Path) -> None:
    """The second attempt has too little to begin with, and the third goes on from what the first has saved."""
    cluster.output("scancel", training.hold())


def node_down(training: Training, folder: Path) -> None:
    job = training.hold()
    cluster.output("scontrol", "update", "NodeName=downed", "State=DOWN", "Reason=test")
    training.until(lambda: training.jobs[job]["state"] == "PENDING", "the job to be queued again")
    cluster.output("scontrol", "update", "NodeName=downed", "State=RESUME")


def daemon_killed(training: Training, folder: Path) -> None:
    """The job lives on, and SLURM starts it once more on another node: two write the same files."""
    training.hold()
    cluster.kill_daemon(folder, "silenced")
    training.until(lambda: len(training.pids) == 2, "the second start of the job")
    training.release()


def preempted(training: Training, folder: Path) -> None:
    training.hold()
    node = next(job["node"] for job in training.jobs.values() if job["state"] == "RUNNING")
    wrapped = ["--output=/dev/null", "--wrap=sleep 1"]
    cluster.output("sbatch", "--partition=urgent", f"--nodelist={node}", "--ntasks=1", *wrapped)


def snakemake_killed(training: Training, folder: Path) -> None:
    """Its job goes on; the same command ends it before it begins."""
    training.hold()
    os.kill(training.snakemake.pid, signal.SIGKILL)
    training.snakemake.wait()
    training.start()


def controller_away(training: Training, folder: Path) -> None:
    training.hold()
    cluster.stop_controller(folder)
    training.until(lambda: "SLURM does not answer" in training.said, "Snakemake to notice")
    training.release()
    cluster.start_controller()


@dataclass(frozen=True)
class Fault:
    """What befalls a training on a partition, the states that SLURM's jobs for it then end in, in their order, and
    whether it is started once more, and resumes."""

    befall: Callable[[Training, Path], None]
    partition: str
    ends: tuple[str, ...]
    resources: str = ""
    arguments: tuple[str, ...] = ()
    resumes: bool = True


FAULTS = {
    "scancel": Fault(scancel, "faults", ("CANCELLED", "COMPLETED")),
    "scontrol requeue": Fault(requeue, "faults", ("COMPLETED",)),
    "over its time": Fault(over_time, "faults", ("TIMEOUT", "COMPLETED")),
    "over its memory": Fault(
        over_memory, "faults", ("CANCELLED", "FAILED", "COMPLETED"), "mem_mb=1000 if attempt % 2 else 200"
    ),
    "node down": Fault(node_down, "down", ("COMPLETED",)),
    "slurmd killed": Fault(daemon_killed, "silent", ("COMPLETED",)),
    "preempted, queued again": Fault(preempted, "requeues", ("COMPLETED",)),
    "preempted, cancelled": Fault(preempted, "cancels", ("PREEMPTED", "COMPLETED")),
    "Snakemake killed": Fault(snakemake_killed, "faults", ("CANCELLED", "COMPLETED")),
}
# One question without an answer is enough to lose all jobs, if it is not asked again. It befalls all jobs of a cluster.
AWAY = Fault(controller_away, "faults", ("COMPLETED",), resumes=False, arguments=("--slurm-status-attempts", "1"))


def befall(fault: Fault, checkout: Checkout, folder: Path) -> Training:
    """Start a training, let the fault befall it, and wait for its end."""
    training = Training(checkout, fault.partition, fault.resources, fault.arguments)
    try:
        fault.befall(training, folder)
        return training.finish()
    finally:
        if training.snakemake.poll() is None:
            os.killpg(training.snakemake.pid, signal.SIGKILL)


def on_gpus(checkout: Checkout) -> tuple[Checkout, Ran]:
    """Run two jobs that share one of SLURM's, and one that asks for a model of GPU. All fail: no GPU is real."""
    checkout.path("overlay.yaml").write_text("training: {device: cuda}\ndistances: {device: cuda}\n")
    made = [f"results/qwen/run_00{run}/pairwise_distances.safetensors" for run in (1, 2)] + [TARGET]
    for name in made:
        checkout.path(name).unlink()
    asks = ["train:slurm_partition=gpu", "distances:slurm_partition=gpu", "train:gpu_model=pretended"]
    arguments = [*made, *PROFILE, "--retries", "0", "--set-resources", *asks]
    return checkout, checkout.run(*arguments, overlay="overlay.yaml", status=1)


def digests(checkout: Checkout) -> dict[str, str]:
    """File → digest of all that the training left, hidden files too."""
    return {name: digest for name, digest in checkout.digests().items() if name.startswith("normal/run_001/")}
