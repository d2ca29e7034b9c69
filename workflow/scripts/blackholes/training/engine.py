"""The training engine: K runs from their seeds to their histories, in blocks of steps, and on after any death.

On a CPU every run goes by itself (cpu.py), several side by side in threads; on any other device all K go at once, with
stacked parameters (stacked.py). The files and bytes of a run are the same whatever other runs share its job.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import torch
from jaxtyping import BFloat16
from torch import Tensor

from blackholes.artifacts import files
from blackholes.artifacts.histories import KEY, history_writer
from blackholes.artifacts.rows import RowWriter
from blackholes.errors import UserError
from blackholes.kernels import duplicates
from blackholes.kernels.device import describe
from blackholes.training import model as gpt2_model
from blackholes.training import tokens as corpus_tokens
from blackholes.training.cpu import CpuRun
from blackholes.training.resume import Checkpoint
from blackholes.training.schedules import learning_rate
from blackholes.training.settings import RunSettings
from blackholes.training.windows import window_order

_DIVERGED = "diverged"  # folder, in a run's, of the last good parameters
_BLOCK_BYTES = 64e6  # of snapshots
_LARGE = 1e9  # bytes of histories about which a job says a word before it starts
_BLOCK_SECONDS = 1.0  # after so long a job looks up: writes, says how far it is, saves its state


@dataclass
class Step:
    """What one optimizer step leaves behind. Step 0 is the state before training and has no loss."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    weights: dict[str, Tensor]  # the live parameters: copy what has to outlast the step

    @property
    def embedding(self) -> BFloat16[Tensor, "V D"]:
        """A copy of the embedding matrix as the history keeps it."""
        return self.weights[gpt2_model.EMBEDDING].detach().to("cpu", torch.bfloat16, copy=True)


@dataclass
class RunFiles:
    """What one run writes."""

    history: Path  # embedding_evolution.safetensors: bfloat16 (S, V, D)
    log: Path  # training_log.csv, a row a step
    config: Path  # config.json of a Hugging Face checkpoint
    model: Path  # model.safetensors of it

    @property
    def folder(self) -> Path:
        return Path(self.history).parent


def train(
    token_ids: np.ndarray,
    settings: RunSettings,
    device: torch.device | str = "cpu",
    threads: int = 1,
    origin: str = "corpus",
) -> Iterator[Step]:
    """Train one run and yield the state before training, then one Step after every optimizer step.

    Args:
        token_ids: the corpus, integers (n,).
        settings: of the run.
        threads: CPU threads; the batch is split among them, so they enter the bytes.
        origin: what errors call the corpus.

    Raises:
        UserError: the corpus is too short for a window or for one batch, or training diverges.
    """
    runs, windows = start(token_ids, [settings], torch.device(device), threads, origin)
    yield Step(0, math.nan, math.nan, math.nan, runs.weights(0))
    for step in range(1, settings.steps + 1):
        rate = learning_rate(settings, step)
        losses, norms, snapshots = runs.block(next(windows)[None], [rate])
        if found := _divergence(losses, norms, snapshots, step - 1):
            raise UserError(f"training diverged at step {found[0]}: {found[2]}; {_advice(settings)}")
        yield Step(step, losses.item(), norms.item(), rate, runs.weights(0))


def start(token_ids: np.ndarray, settings: Sequence[RunSettings], device: torch.device, threads: int, origin: str):
    """K runs before their first step, and endlessly, step by step, their windows: starts (K, B) in the corpus."""
    context, batch = settings[0].model.context, settings[0].batch_size
    count = corpus_tokens.check(len(token_ids), context, batch, origin)
    if device.type == "cpu":
        torch.set_num_threads(1)  # threads share the batch, or take a run each, instead
        runs = CpuRun(token_ids, list(settings), device, threads)
    else:
        from blackholes.training.stacked import StackedRuns  # a CPU job need not load it

        runs = StackedRuns(token_ids, list(settings), device, threads)
    orders = [window_order(count, batch, one.seed) for one in settings]
    return runs, (torch.from_numpy(np.stack(starts)) for starts in zip(*orders, strict=True))


def write_runs(
    corpus: str,
    runs: Sequence[RunFiles],
    settings: Sequence[RunSettings],
    device: torch.device | str = "cpu",
    threads: int = 1,
    workers: int = 1,
    metadata: dict[str, str] | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Callable[[int], Callable[..., None]] = lambda k: lambda done, total, more=None: None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Train K runs that differ in nothing but their seeds, from the corpus file; write each one's files.

    A job that was killed goes on from the last state that it saved, and ends with the same bytes; nothing of that is
    left after success.

    Args:
        corpus: tokens.safetensors.
        settings: of each run.
        threads: CPU threads of a run; they enter the bytes.
        workers: runs that go side by side on a CPU; they do not.
        metadata: provenance; seed, device, precision and threads are added.
        checkpoint_seconds: time between two saved states.
        progress: k → a function that is called as tick(step, steps, more), `more()` giving loss, holes and population.
        say: told what a user should know.

    Raises:
        UserError: as `train`; where training diverges, it names the last good step, whose parameters stay as a
            checkpoint in `diverged/` of the run's folder.
    """
    device = torch.device(device)
    tokens = corpus_tokens.load(corpus)
    facts = {"device": describe(device), "precision": settings[0].precision, "threads": str(threads)}
    stop = Event()

    def write(group: list[int]) -> None:
        job = _Group(
            corpus,
            tokens,
            [runs[k] for k in group],
            [settings[k] for k in group],
            [(metadata or {}) | facts | {"seed": str(settings[k].seed)} for k in group],
            [progress(k) for k in group],
            say,
        )
        job.write(device, threads, checkpoint_seconds, stop)

    groups = _groups(len(runs), device)
    if len(groups) == 1:
        return write(groups[0])
    with ThreadPoolExecutor(workers) as pool:
        try:
            jobs = [pool.submit(write, group) for group in groups]
            for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                job.result()
        finally:  # an error, or the user, ends all of them
            stop.set()
            for job in jobs:
                job.cancel()


def _groups(count: int, device: torch.device) -> list[list[int]]:
    """Which runs go forward together."""
    return [[k] for k in range(count)] if device.type == "cpu" else [list(range(count))]


class _Stopped(Exception):
    """Another run of the job failed, or the user ended it."""


@dataclass
class _Group:
    """K runs that go forward together."""

    corpus: str
    tokens: corpus_tokens.Tokens
    files: list[RunFiles]
    settings: list[RunSettings]
    metadata: list[dict[str, str]]
    progress: list[Callable[..., None]]
    say: Callable[[str], None]

    def write(self, device, threads: int, checkpoint_seconds: float, stop: Event) -> None:
        steps = self.settings[0].steps
        runs, windows = start(self.tokens.token_ids.numpy(), self.settings, device, threads, self.corpus)
        checkpoint = Checkpoint(self.files[0].folder, self._recipe())
        with ExitStack() as stack:
            saved = checkpoint.load(self.say)
            writers = self._writers(checkpoint.mark)
            self._say_size(writers)
            for writer in writers:
                stack.enter_context(writer)
            step, log = self._begin(runs, writers, saved)
            windows = islice(windows, step, None)
            background = stack.enter_context(ThreadPoolExecutor(1))  # writes a block while the next one runs
            written = background.submit(lambda: None)
            length, looked = 1, time.monotonic()
            most, saved_at = self._longest(runs), looked
            while step < steps:
                n = min(length, steps - step)
                rates = [learning_rate(self.settings[0], step + i + 1) for i in range(n)]
                starts = torch.stack([next(windows) for _ in range(n)])  # (n, K, B)
                before = {name: value.clone() for name, value in runs.state.items()}
                block = runs.block(starts, rates)
                if found := _divergence(*block, step):
                    self._diverged(runs, before, starts, rates, step, *found)
                losses, norms, snapshots = runs.to_host(block)()
                written.result()
                written = background.submit(self._append, writers, snapshots)
                log[:, :, step : step + n] = torch.stack([losses, norms]).mT  # (2, K, n)
                step += n
                for k, tick in enumerate(self.progress):
                    tick(step, steps, lambda k=k: _shown(losses[-1, k], snapshots[-1, k]))
                now = time.monotonic()
                length = max(1, min(most, int(n * min(_BLOCK_SECONDS, checkpoint_seconds) / max(now - looked, 1e-9))))
                looked = now
                if step < steps and now - saved_at >= checkpoint_seconds:
                    written.result()
                    for writer in writers:
                        writer.flush()
                    checkpoint.save(step, runs.state, log[:, :, :step])
                    saved_at = time.monotonic()
                if stop.is_set():
                    raise _Stopped
            written.result()
            for writer in writers:
                writer.check_owner()
            self._write_small_files(runs, log)
        for paths in self.files:  # success: nothing of this attempt or an earlier one stays
            Checkpoint(paths.folder, {}).forget()
            files.forget(paths.history)
            shutil.rmtree(paths.folder / _DIVERGED, ignore_errors=True)

    @property
    def _shape(self) -> tuple[int, int, int]:
        """(S, V, D) of a history."""
        settings = self.settings[0]
        return settings.steps + 1, settings.model.vocabulary_size, settings.model.width

    def _recipe(self) -> dict[str, str]:
        """All that enters the bytes of these runs."""
        recipe = {key: value for key, value in self.metadata[0].items() if key != "seed"}
        recipe["seeds"] = ", ".join(data["seed"] for data in self.metadata)
        return recipe | {"settings": repr(replace(self.settings[0], seed=0))}

    def _writers(self, mark: str) -> list[RowWriter]:
        return [
            history_writer(paths.history, self._shape, data, mark)
            for paths, data in zip(self.files, self.metadata, strict=True)
        ]

    def _say_size(self, writers: list[RowWriter]) -> None:
        size = sum(writer.size for writer in writers)
        if size >= _LARGE:
            free = shutil.disk_usage(self.files[0].folder.parent).free
            self.say(f"the history takes {size / 1e9:,.2f} GB on the disk, which has {free / 1e9:,.2f} GB left")

    def _append(self, writers: list[RowWriter], snapshots: Tensor) -> None:
        for k, writer in enumerate(writers):
            writer.append(KEY, snapshots[:, k])

    def _begin(self, runs, writers: list[RowWriter], saved) -> tuple[int, Tensor]:
        """The step to go on after, and the log (2, K, steps) so far; `runs` and `writers` are brought there."""
        steps = self.settings[0].steps
        log = torch.empty(2, len(writers), steps, dtype=torch.float64)
        if saved and all(writer.holds(KEY, saved[0] + 1) for writer in writers):
            step, state, log[:, :, : saved[0]] = saved
            _restore(runs, state)
            for writer in writers:
                writer.skip(KEY, step + 1)
            self.say(f"goes on after step {step:,} of {steps:,}, where an earlier job was killed")
            return step, log
        for writer, snapshot in zip(writers, runs.embeddings().cpu(), strict=True):
            writer.append(KEY, snapshot[None])
        return 0, log

    def _longest(self, runs) -> int:
        """Steps of the longest block."""
        snapshot = 2 * len(self.files) * math.prod(self._shape[1:])  # bytes
        return max(1, min(runs.block_steps, int(_BLOCK_BYTES / snapshot)))

    def _write_small_files(self, runs, log: Tensor) -> None:
        columns = ["step", "loss", "grad_norm", "learning_rate"]
        for k, (paths, settings) in enumerate(zip(self.files, self.settings, strict=True)):
            self._write_model(runs, k, paths.config, paths.model)
            rows = (
                (step, *log[:, k, step - 1].tolist(), learning_rate(settings, step))
                for step in range(1, settings.steps + 1)
            )
            files.write_table(paths.log, columns, rows)

    def _write_model(self, runs, k: int, config: Path, tensors: Path) -> None:
        weights = {name: weight.detach().cpu() for name, weight in runs.weights(k).items()}
        gpt2_model.write_checkpoint(config, tensors, weights, self.settings[k].model, self.metadata[k])

    def _diverged(self, runs, before, starts, rates, step: int, bad: int, k: int, cause: str) -> None:
        """Go back to the step before the bad one, leave its parameters as a checkpoint, and say so."""
        _restore(runs, before)
        if good := bad - 1 - step:
            runs.block(starts[:good], rates[:good])
        folder = self.files[k].folder / _DIVERGED
        self._write_model(runs, k, folder / "config.json", folder / "model.safetensors")
        raise UserError(
            f"{self.files[k].folder}: training diverged at step {bad}: {cause}; the parameters of step {bad - 1}, the "
            f"last good ones, are in {folder}; {_advice(self.settings[k])}"
        )


def _divergence(losses: Tensor, norms: Tensor, snapshots: Tensor, before: int) -> tuple[int, int, str] | None:
    """(step, run, cause) of the first value that is not finite in a block after step `before`, or None."""
    fine = losses.isfinite() & norms.isfinite() & snapshots.isfinite().flatten(2).all(2)  # (n, K)
    if fine.all():
        return None
    i, k = (~fine).nonzero()[0].tolist()
    loss, norm = losses[i, k].item(), norms[i, k].item()
    whole = math.isfinite(loss) and math.isfinite(norm)
    cause = "an embedding is not finite" if whole else f"loss {loss:.6g}, gradient norm {norm:.6g}"
    return before + i + 1, k, cause


def _restore(runs, state: dict[str, Tensor]) -> None:
    """Go back to a copy of `runs.state`."""
    for name, value in runs.state.items():
        value.copy_(state[name])


def _advice(settings: RunSettings) -> str:
    return f"a smaller learning_rate (now {settings.learning_rate}) may help"


def _shown(loss: Tensor, embedding: Tensor) -> dict[str, float | int]:
    """What a line of progress shows of a run."""
    sizes = duplicates.labels(embedding).bincount()
    return {"loss": loss.item(), "holes": int((sizes > 1).sum()), "population": int(sizes[sizes > 1].sum())}
