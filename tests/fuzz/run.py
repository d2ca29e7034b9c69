"""Feed mutated files to every reader: `make fuzz`, or `python tests/fuzz/run.py [reader …]`.

Faults are exceptions other than the project's own, a file that takes more than 150 seconds, and more than 1 GB of
memory for one of a few kilobytes. Files that caused one are kept under build/fuzz. Cases are numbered: the same
FUZZ_SEED makes the same files. Exit status 1 where a fault was found.
"""

import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "workflow/scripts")]
FOUND = HERE.parents[1] / "build/fuzz"
PATIENCE = 150.0  # seconds; the reader of HDF5 files itself waits for 120
MEMORY = 1e9  # bytes above what a worker has when it begins


def worker(folder: Path, seed: int, first: int, names: list[str]) -> None:
    """Read cases from number `first` on, for ever. Says the number of each before, and a fault after it."""
    import torch
    from blackholes.errors import UserError
    from fuzz.mutations import mutated
    from fuzz.readers import READERS

    torch.set_num_threads(1)
    good = {name: READERS[name].good(folder) for name in names}
    for name in names:  # good files are read, and what they import is there before memory is measured
        for data in good[name]:
            path = folder / f"good.{READERS[name].kind}"
            path.write_bytes(data)
            READERS[name].read(path)
    print("ready", flush=True)
    for number in range(first, sys.maxsize):
        chance = random.Random(f"{seed}/{number}")
        name = chance.choice(names)
        path = folder / f"case.{READERS[name].kind}"
        path.write_bytes(mutated(chance.choice(good[name]), good[name], READERS[name].kind, chance))
        print(f"case {number} {name}", flush=True)
        outcome = "read"
        try:
            READERS[name].read(path)
        except UserError as error:
            outcome = "refused" if "\n" not in str(error) or name == "config" else "fault: several lines"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            outcome = " ".join(f"fault: {type(error).__name__} at {where}: {error}"[:300].split())
        if outcome.startswith("fault"):
            path.rename(folder / f"fault-{number}{path.suffix}")  # the next case may have its name before this is read
        print(f"done {outcome}", flush=True)


class Fuzzer:
    """Runs workers, one after the other, and counts what they say."""

    def __init__(self, seed: int, names: list[str]):
        self.seed, self.names, self.number = seed, names, 0
        self.cases: dict[str, Counter] = {name: Counter() for name in names}
        self.faults: dict[str, str] = {}  # reader and fault → kept file

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with tempfile.TemporaryDirectory() as folder:
                self._worker(Path(folder), deadline)

    def _worker(self, folder: Path, deadline: float) -> None:
        command = [sys.executable, __file__, "--worker", str(folder), str(self.seed), str(self.number), *self.names]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        assert process.stdout
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                self._follow(process, selector, folder, deadline)
        finally:
            process.kill()
            process.wait()

    def _follow(self, process, selector, folder: Path, deadline: float) -> None:
        name, before, limit = "", 0, time.monotonic() + 300  # to import and compile
        said = b""
        while time.monotonic() < deadline:
            if not selector.select(timeout=0.05):
                problem = ""
                if time.monotonic() > limit:
                    problem = "fault: hangs"
                elif before and memory(process.pid) - before > MEMORY:
                    problem = "fault: takes more than 1 GB"
                if problem:
                    assert name, "the fuzzer itself hangs"
                    return self._end(name, problem, folder)
                continue
            limit = time.monotonic() + PATIENCE
            some = process.stdout.read(65536)  # not a line at a time: the selector sees nothing of what Python has read
            if not some:
                assert name, "the fuzzer itself failed: run it with --worker to see why"
                return self._end(name, f"fault: the process ended with {process.wait()}", folder)
            *lines, said = (said + some).split(b"\n")
            for line in lines:
                word, _, rest = line.decode().partition(" ")
                if word == "ready":
                    before = memory(process.pid)
                elif word == "case":
                    self.number, name = int(rest.split()[0]) + 1, rest.split()[1]
                elif word == "done":
                    self._end(name, rest, folder)
        return None

    def _end(self, name: str, outcome: str, folder: Path) -> None:
        self.cases[name][outcome.partition(":")[0]] += 1
        fault = f"{name}: {outcome}"
        if outcome.startswith("fault") and (key := fault[:90]) not in self.faults:
            case = self._case(folder)
            FOUND.mkdir(parents=True, exist_ok=True)
            kept = FOUND / f"{name}-{self.seed}-{self.number - 1}{case.suffix}"
            kept.write_bytes(case.read_bytes())
            self.faults[key] = str(kept)
            print(f"{fault}; kept as {kept}", flush=True)

    def _case(self, folder: Path) -> Path:
        """The file of the last case that was said to begin."""
        for path in folder.glob(f"fault-{self.number - 1}.*"):
            return path
        return max(folder.glob("case.*"), key=lambda path: path.stat().st_mtime_ns)


def memory(process: int) -> int:
    """Resident bytes of a process."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        folder, seed, first, *names = sys.argv[2:]
        worker(Path(folder), int(seed), int(first), names)
    from fuzz.readers import READERS

    seed = int(os.environ.get("FUZZ_SEED", int.from_bytes(os.urandom(3), "big")))
    seconds = float(os.environ.get("FUZZ_SECONDS", 600))
    fuzzer = Fuzzer(seed, sys.argv[1:] or list(READERS))
    print(f"FUZZ_SEED={seed}, {seconds:g} seconds, {len(fuzzer.names)} readers", flush=True)
    fuzzer.run(seconds)
    print(f"{'reader':<20}{'files':>9}{'read':>9}{'refused':>9}{'faults':>9}")
    for name, counts in fuzzer.cases.items():
        print(f"{name:<20}{counts.total():>9,}{counts['read']:>9,}{counts['refused']:>9,}{counts['fault']:>9,}")
    total = sum(counts.total() for counts in fuzzer.cases.values())
    print(f"{total:,} files, {len(fuzzer.faults)} kinds of fault")
    return int(bool(fuzzer.faults))


if __name__ == "__main__":
    sys.exit(main())
