"""Training jobs: K runs from their seeds to their files, in blocks of steps, resumed after a kill.

Two engines take the steps (interface.py): the compiled one (cpu.py), for a CPU, and the torch one (stacked.py), for any
device. On a CPU the runs of a job are trained one by one, several at a time in threads; on other devices all at once,
with stacked parameters. On a CPU the bytes of a run do not depend on the other runs of its job.
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
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import UserError
from blackholes.kernels import duplicates
from blackholes.kernels.device import describe
from blackholes.training import facts, forces, learnt
from blackholes.training import model as gpt2_model
from blackholes.training import tokens as corpus_tokens
from blackholes.training.interface import Runs
from blackholes.training.resume import LOCK, Checkpoint, Saved
from blackholes.training.schedules import learning_rate
from blackholes.training.settings import RunSettings
from blackholes.training.windows import window_order

_DIVERGED = "diverged"  # subfolder of a run's folder, for the last good parameters
_BLOCK_BYTES = 64e6  # most bytes of a block's snapshots
_LARGE = 1e9  # bytes of histories from which on the job logs their size before it starts
_BLOCK_SECONDS = 1.0  # target seconds per block, between logging and checkpoint checks


@dataclass
class Step:
    """The result of one optimizer step. Step 0 is the state before training and has no loss."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    weights: dict[str, Tensor]  # the live parameters: copy what must outlast the step

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
    forces: Path | None = None  # forces.safetensors, where the run's settings say `forces`

    @property
    def folder(self) -> Path:
        return Path(self.history).parent


def engine_on(device: torch.device | str, name: str) -> str:
    """The engine, `compiled` or `torch`, that the setting `training.engine` means on a device.

    Raises:
        UserError: the compiled engine is asked for on another device than a CPU.
    """
    device = torch.device(device)
    if name == "auto":
        return "compiled" if device.type == "cpu" else "torch"
    if name == "compiled" and device.type != "cpu":
        raise UserError(f"training.engine: compiled is not allowed on {device}; expected auto or torch, or device cpu")
    return name


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
        threads: CPU threads to use; they do not enter the bytes.
        origin: what errors call the corpus.

    Raises:
        UserError: the corpus is too short for a window or for one batch, or training diverges.
    """
    runs, windows = start(token_ids, [settings], torch.device(device), threads, origin)
    yield Step(0, math.nan, math.nan, math.nan, runs.weights(0))
    for step in range(1, settings.steps + 1):
        rate = learning_rate(settings, step)
        losses, norms, snapshots = runs.block(next(windows)[None], [rate])
        if divergence := _divergence(losses, norms, snapshots, step - 1):
            bad, _, cause = divergence
            raise UserError(f"training diverged at step {bad}: {cause}; {_advice(settings)}")
        yield Step(step, losses.item(), norms.item(), rate, runs.weights(0))


def start(
    token_ids: np.ndarray, settings: Sequence[RunSettings], device: torch.device, threads: int, origin: str
) -> tuple[Runs, Iterator[Tensor]]:
    """K runs before their first step, and the endless series of their windows: first tokens (K, B) for each step."""
    context, batch = settings[0].model.context, settings[0].batch_size
    count = corpus_tokens.check(len(token_ids), context, batch, origin)
    torch.set_num_threads(1)  # a sum that torch splits among threads would depend on their number
    if engine_on(device, settings[0].engine) == "compiled":
        from blackholes.training.cpu import CpuRun  # each engine is imported only where it is used

        runs: Runs = CpuRun(token_ids, settings, threads)
    else:
        from blackholes.training.stacked import StackedRuns

        runs = StackedRuns(token_ids, settings, device)
    orders = [window_order(count, batch, one.seed) for one in settings]
    return runs, (torch.from_numpy(np.stack(starts)) for starts in zip(*orders, strict=True))


def write_runs(
    corpus: str,
    runs: Sequence[RunFiles],
    settings: Sequence[RunSettings],
    device: torch.device | str = "cpu",
    threads: int = 1,
    metadata: dict[str, str] | None = None,
    code: str = "",
    checkpoint_seconds: float = 30.0,
    progress: Callable[[int], Callable[..., None]] = lambda k: lambda done, total, more=None: None,
    log: Callable[[str], None] = lambda text: None,
) -> None:
    """Train K runs that differ only in their seeds, from the corpus file; write each one's files.

    A job that was killed resumes from its last checkpoint and ends with the same bytes. Checkpoints are deleted on
    success.

    Args:
        corpus: tokens.safetensors.
        settings: of each run.
        threads: CPU threads of the job, for pieces of a batch and for several runs at a time. They do not enter the
            bytes.
        metadata: provenance; seed, device, engine, precision and threads (the pieces of a batch) are added.
        code: digest of the code; a checkpoint that other code made is not used.
        checkpoint_seconds: time between two checkpoints.
        progress: k → a function that is called as tick(step, steps, more), `more()` giving loss, holes and population.
        log: called with lines for the user.

    Raises:
        UserError: as `train`; where training diverges, it names the last good step, whose parameters are kept as a
            checkpoint in `diverged/` of the run's folder.
    """
    device, one = torch.device(device), settings[0]
    engine = engine_on(device, one.engine)
    pieces = one.batch_split if engine == "compiled" else 1
    tokens = corpus_tokens.load(corpus)
    made_by = {"device": describe(device), "engine": engine, "precision": one.precision, "threads": str(pieces)}
    if not one.rounding.nearest:
        made_by["rounding"] = f"{one.rounding.weights} weights, {one.rounding.state} state"
    if one.compensation != "none":
        made_by["compensation"] = one.compensation
    groups = _groups(len(runs), device)
    workers = min(len(groups), max(1, threads // pieces))
    stop = Event()

    def write(group: list[int]) -> None:
        job = _Group(
            corpus,
            tokens,
            [runs[k] for k in group],
            [settings[k] for k in group],
            [(metadata or {}) | made_by | {"seed": str(settings[k].seed)} for k in group],
            code,
            [progress(k) for k in group],
            log,
        )
        job.write(device, threads // workers, checkpoint_seconds, stop)

    if len(groups) == 1:
        return write(groups[0])
    with ThreadPoolExecutor(workers) as pool:
        try:
            jobs = [pool.submit(write, group) for group in groups]
            for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                job.result()
        finally:  # an error or an interrupt stops all of them
            stop.set()
            for job in jobs:
                job.cancel()


def _groups(count: int, device: torch.device) -> list[list[int]]:
    """Which runs are stacked."""
    return [[k] for k in range(count)] if device.type == "cpu" else [list(range(count))]


@dataclass
class _Recording:
    """The forces of one run of a job."""

    run: int  # which of the job's
    writer: RowWriter
    keys: list[str]  # the tensors that have a row a step


class _Stopped(Exception):
    """Another run of the job failed, or the user interrupted it."""


@dataclass
class _Group:
    """K runs that go forward together."""

    corpus: str
    tokens: corpus_tokens.Tokens
    files: list[RunFiles]
    settings: list[RunSettings]
    metadata: list[dict[str, str]]
    code: str
    progress: list[Callable[..., None]]
    log: Callable[[str], None]

    def write(self, device: torch.device, threads: int, checkpoint_seconds: float, stop: Event) -> None:
        def pause() -> None:
            if stop.wait(0.2):
                raise _Stopped

        with ExitStack() as stack:
            for folder in sorted({paths.folder for paths in self.files}):  # sorted, so that no two wait for each other
                stack.enter_context(files.sole_writer(folder / LOCK, self.log, pause))
            self._write(device, threads, checkpoint_seconds, stop)
            for paths in self.files:  # delete what this attempt and earlier ones left for a resumption
                Checkpoint(paths.folder, {}).forget()
                for path in filter(None, (paths.history, paths.forces)):
                    files.forget(path)
                shutil.rmtree(paths.folder / _DIVERGED, ignore_errors=True)

    def _write(self, device: torch.device, threads: int, checkpoint_seconds: float, stop: Event) -> None:
        steps = self.settings[0].steps
        runs, windows = start(self.tokens.token_ids.numpy(), self.settings, device, threads, self.corpus)
        self._log_facts(runs)
        checkpoint = Checkpoint(self.files[0].folder, self._recipe())
        with ExitStack() as stack:
            saved = checkpoint.load(self.log)
            writers, recordings = self._writers(checkpoint.mark), self._recordings(checkpoint.mark)
            every = [*writers, *(it.writer for it in recordings)]
            self._log_size(every)
            for writer in every:
                stack.enter_context(writer)
            self._refuse_without_room(every)
            step, series = self._begin(runs, writers, recordings, saved)
            windows = islice(windows, step, None)
            background = stack.enter_context(ThreadPoolExecutor(1))  # writes one block while the next is computed
            written = background.submit(lambda: None)
            length, block_began = 1, time.monotonic()
            longest, saved_at = self._longest_block(runs), block_began
            while step < steps:
                n = min(length, steps - step)
                rates = [learning_rate(self.settings[0], step + i + 1) for i in range(n)]
                starts = torch.stack([next(windows) for _ in range(n)])  # (n, K, B)
                before = {name: value.clone() for name, value in runs.state.items()}
                block = runs.block(starts, rates)
                if divergence := _divergence(*block, step):
                    self._raise_diverged(runs, before, starts, rates, step, *divergence)
                losses, norms, snapshots = runs.to_host(block)()
                recorded = {name: values.to("cpu") for name, values in runs.recorded.items()}
                written.result()
                written = background.submit(self._append, writers, snapshots, recordings, recorded)
                series[:, :, step : step + n] = torch.stack([losses, norms]).mT  # (2, K, n)
                step += n
                for k, tick in enumerate(self.progress):
                    tick(step, steps, lambda k=k: _shown(losses[-1, k], snapshots[-1, k]))
                now = time.monotonic()
                target = min(_BLOCK_SECONDS, checkpoint_seconds)
                length = max(1, min(longest, int(n * target / max(now - block_began, 1e-9))))
                block_began = now
                if step < steps and now - saved_at >= checkpoint_seconds:
                    written.result()
                    for writer in every:
                        writer.check_owner()
                        writer.flush()
                    histories = [writer.digest(KEY) for writer in writers]
                    forces_digests = [{key: it.writer.digest(key) for key in it.keys} for it in recordings]
                    checkpoint.save(step, runs.state, series[:, :, :step], histories, forces_digests)
                    saved_at = time.monotonic()
                if stop.is_set():
                    raise _Stopped
            written.result()
            for writer in every:
                writer.check_owner()
            self._write_small_files(runs, series)

    @property
    def _shape(self) -> tuple[int, int, int]:
        """(S, V, D) of a history."""
        settings = self.settings[0]
        return settings.steps + 1, settings.model.vocabulary_size, settings.model.width

    def _recipe(self) -> dict[str, str]:
        """All that enters the bytes of these runs."""
        recipe = {key: value for key, value in self.metadata[0].items() if key != "seed"}
        recipe["seeds"] = ", ".join(data["seed"] for data in self.metadata)
        recipe["forces"] = ", ".join(one.forces for one in self.settings)
        return recipe | {"code_digest": self.code, "settings": repr(replace(self.settings[0], seed=0, forces=""))}

    def _writers(self, mark: str) -> list[RowWriter]:
        return [
            history_writer(paths.history, self._shape, data, mark)
            for paths, data in zip(self.files, self.metadata, strict=True)
        ]

    def _recordings(self, mark: str) -> list[_Recording]:
        found = []
        for k, (paths, one, data) in enumerate(zip(self.files, self.settings, self.metadata, strict=True)):
            if one.forces != "none":
                assert paths.forces is not None  # for mypy: a run whose forces are recorded has a file for them
                layout = forces.layout(one, one.forces)
                writer = TensorWriter(paths.forces, layout, data | {"forces": one.forces}, mark)
                found.append(_Recording(k, writer, [key for key in layout if key != forces.START]))
        return found

    def _log_facts(self, runs: Runs) -> None:
        one = self.settings[0]
        count = corpus_tokens.windows(len(self.tokens.token_ids), one.model.context)
        for line in facts.lines(self.settings, count, runs.embeddings().cpu()):
            self.log(line)

    def _log_size(self, writers: list[RowWriter]) -> None:
        size = sum(writer.size for writer in writers)
        if size >= _LARGE:
            free = shutil.disk_usage(self.files[0].folder.parent).free
            what = "the history takes" if len(writers) == len(self.files) else "history and forces take"
            self.log(f"{what} {size / 1e9:,.2f} GB on the disk, which has {free / 1e9:,.2f} GB left")

    def _refuse_without_room(self, writers: list[RowWriter]) -> None:
        """A history and its forces are together on the disk; each writer looks at its own file only."""
        need, free = sum(writer.missing for writer in writers), shutil.disk_usage(self.files[0].folder.parent).free
        if len(writers) > len(self.files) and need > free:
            kind = next(one.forces for one in self.settings if one.forces != "none")
            raise UserError(
                f"{self.files[0].folder}: record.forces {kind}: history and forces need {need / 1e6:,.1f} MB, but the "
                f"disk has {free / 1e6:,.1f} MB left; summary needs less, none least"
            )

    def _append(
        self, writers: list[RowWriter], snapshots: Tensor, recordings: list[_Recording], recorded: dict[str, Tensor]
    ) -> None:
        for k, writer in enumerate(writers):
            writer.append(KEY, snapshots[:, k])
        for k, it in enumerate(recordings):
            for key in it.keys:
                it.writer.append(key, recorded[key][:, k])

    def _begin(
        self, runs: Runs, writers: list[RowWriter], recordings: list[_Recording], saved: Saved | None
    ) -> tuple[int, Tensor]:
        """(last step done, losses and gradient norms (2, K, steps) so far); sets `runs` and writers to that step."""
        steps = self.settings[0].steps
        series = torch.empty(2, len(writers), steps, dtype=torch.float64)
        for it in recordings:
            if forces.START in forces.layout(self.settings[it.run], self.settings[it.run].forces):
                it.writer.append(forces.START, runs.weights(it.run)[gpt2_model.EMBEDDING])
        if saved and _is_there(saved, writers, recordings):
            step, series[:, :, : saved.step] = saved.step, saved.series
            _restore(runs, saved.state)
            for writer in writers:
                writer.skip(KEY, step + 1)
            for it in recordings:
                for key in it.keys:
                    it.writer.skip(key, step)
            self.log(f"resumes after step {step:,} of {steps:,}, from the checkpoint of a job that was killed")
            return step, series
        if saved:
            self.log("checkpoint not used: the history it is of is not there as it was; training starts from step 0")
        for writer, snapshot in zip(writers, runs.embeddings().cpu(), strict=True):
            writer.append(KEY, snapshot[None])
        return 0, series

    def _longest_block(self, runs: Runs) -> int:
        """Steps of the longest block."""
        step = 2 * len(self.files) * math.prod(self._shape[1:])  # bytes
        step += sum(forces.step_bytes(one, one.forces) for one in self.settings)
        return max(1, min(runs.block_steps, int(_BLOCK_BYTES / step)))

    def _write_small_files(self, runs: Runs, series: Tensor) -> None:
        columns = ["step", "loss", "grad_norm", "learning_rate"]
        for k, (paths, settings) in enumerate(zip(self.files, self.settings, strict=True)):
            self._write_model(runs, k, paths.config, paths.model)
            rows = (
                (step, *series[:, k, step - 1].tolist(), learning_rate(settings, step))
                for step in range(1, settings.steps + 1)
            )
            files.write_table(paths.log, columns, rows)
            V = settings.model.vocabulary_size
            if learnt.at_chance(series[0, k].tolist(), V):
                self.log(f"{paths.folder.name}: {learnt.line(V)}")

    def _write_model(self, runs: Runs, k: int, config: Path, tensors: Path) -> None:
        weights = {name: weight.detach().cpu() for name, weight in runs.weights(k).items()}
        gpt2_model.write_checkpoint(config, tensors, weights, self.settings[k].model, self.metadata[k])

    def _raise_diverged(self, runs: Runs, before, starts, rates, step: int, bad: int, k: int, cause: str) -> None:
        """Take the good steps of the block again, write run k's parameters as a checkpoint, and raise a UserError."""
        _restore(runs, before)
        if good := bad - 1 - step:
            runs.block(starts[:good], rates[:good])
        folder = self.files[k].folder / _DIVERGED
        self._write_model(runs, k, folder / "config.json", folder / "model.safetensors")
        raise UserError(
            f"{self.files[k].folder}: training diverged at step {bad}: {cause}; the parameters of step {bad - 1}, the "
            f"last good ones, are in {folder}; {_advice(self.settings[k])}"
        )


def _is_there(saved: Saved, writers: list[RowWriter], recordings: list[_Recording]) -> bool:
    """Whether what the saved state follows is in the files, as it was."""
    histories = zip(writers, saved.histories, strict=True)
    return all(writer.holds(KEY, saved.step + 1, digest) for writer, digest in histories) and all(
        it.writer.holds(key, saved.step, digests[key])
        for it, digests in zip(recordings, saved.forces, strict=True)
        for key in it.keys
    )


def _divergence(losses: Tensor, norms: Tensor, snapshots: Tensor, before: int) -> tuple[int, int, str] | None:
    """(step, run, cause) of the first value that is not finite in a block after step `before`, or None."""
    finite = losses.isfinite() & norms.isfinite() & snapshots.isfinite().flatten(2).all(2)  # (n, K)
    if finite.all():
        return None
    i, k = (~finite).nonzero()[0].tolist()
    loss, norm = losses[i, k].item(), norms[i, k].item()
    in_embedding = math.isfinite(loss) and math.isfinite(norm)
    cause = "an embedding is not finite" if in_embedding else f"loss {loss:.6g}, gradient norm {norm:.6g}"
    return before + i + 1, k, cause


def _restore(runs: Runs, state: dict[str, Tensor]) -> None:
    """Set the runs back to a copy of `runs.state`."""
    for name, value in runs.state.items():
        value.copy_(state[name])


def _advice(settings: RunSettings) -> str:
    return f"a smaller learning_rate (now {settings.learning_rate}) may help"


def _shown(loss: Tensor, embedding: Tensor) -> dict[str, float | int]:
    """What a line of progress shows of a run."""
    sizes = duplicates.labels(embedding).bincount()
    return {"loss": loss.item(), "holes": int((sizes > 1).sum()), "population": int(sizes[sizes > 1].sum())}
