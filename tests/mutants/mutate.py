"""Changes the package in small ways and counts the changes that the unit tests notice: `make mutants`.

    mutate.py [folder ...]     a random sample of every folder in tests.toml, or of these, and the changes in by_hand.py
    mutate.py --table [folder ...]    the table of what has been run

cosmic-ray makes the mutants. They run here and not under `cosmic-ray exec`, since importing torch and numba again for
each would take longer than the tests: this process imports the libraries once and forks for every mutant, in a copy of
the working tree. What has been run is kept in build/mutants/results.jsonl: a mutant that was caught is not run
again, one that survived only after a change of its test modules.
"""

import ast
import contextlib
import difflib
import functools
import hashlib
import importlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in tests/conftest.py, before anything imports NumPy

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = Path("workflow/scripts/blackholes")
OUT = ROOT / "build" / "mutants"
TREE = OUT / "tree"
OUTPUT = OUT / "output.txt"  # of the last tests
SAMPLE = {"runs": 40, "reproduction": 30, "artifacts": 30, "kernels": 32, "training": 30, "checkpoints": 50}  # mutants
OTHERS = 26  # of another folder
OTHERS = 26
SEED = 0
TIMEOUT = 120  # seconds
LIBRARIES = (  # what takes long to import, and nothing of the package
    *("torch", "numba", "pandas", "networkx", "pydantic", "h5py", "safetensors.torch", "scipy.sparse.csgraph"),
    *("matplotlib.figure", "transformers", "tokenizers", "jaxtyping", "hypothesis", "pytest"),
)
TABLE = tomllib.loads((HERE / "tests.toml").read_text())
EQUIVALENT = tomllib.loads((HERE / "equivalent.toml").read_text()) if (HERE / "equivalent.toml").exists() else {}
# it takes a minute, and the other tests of resuming notice the same; then those that fail without a change
DESELECTED = ["tests/unit/test_resume.py::test_ten_kills_at_random_moments"]


def annotations(source):
    """The places, (line, column) pairs, that hold types: a change there changes nothing, or fails to import."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        for type_ in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if type_ is not None:
                spans.append(((type_.lineno, type_.col_offset), (type_.end_lineno, type_.end_col_offset)))
    return spans


def places(file):
    """Every place that cosmic-ray's operators can change, with one of its operators and that place's number there."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / PACKAGE / file).read_text()
    types, nodes, found = annotations(source), list(ast_nodes(get_ast(source))), {}
    for name in sorted(operator_names()):
        if get_operator(name).arguments() or name == "core/NoOp":
            continue
        operator, occurrence = get_operator(name)(), 0
        for node in nodes:
            for start, stop in operator.mutation_positions(node):
                if not any(first <= start and stop <= last for first, last in types):
                    found.setdefault((start, stop), []).append((name, occurrence))
                occurrence += 1
    for place, choices in sorted(found.items()):
        yield file, place[0][0], *random.Random(f"{SEED} {file} {place}").choice(choices)


def mutate(file, line, name, occurrence):
    """The mutant, or None: the operator knows no exceptions with a dot in their name, and makes `f(&x)` of `f(*x)`."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / PACKAGE / file).read_text()
    try:
        changed = mutate_code(source, get_operator(name)(), occurrence)
        compile(changed, file, "exec")
    except (AttributeError, SyntaxError):
        return None
    return None if changed == source else {"file": file, "operator": name, "line": line, "source": changed}


def sample(folder):
    if folder == "by_hand":
        sys.path.insert(0, str(HERE))
        from by_hand import CHANGES

        for file, old, new in CHANGES:
            source = (ROOT / PACKAGE / file).read_text()
            if source.count(old) != 1:
                raise SystemExit(f"by_hand.py: {old!r} is found {source.count(old)} times in {file}, not once")
            line = source[: source.index(old)].count("\n") + 1
            yield {"file": file, "operator": "by hand", "line": line, "source": source.replace(old, new)}
        return
    candidates = [place for file in TABLE[folder] for place in places(file)]
    random.Random(SEED).shuffle(candidates)
    chosen = itertools.islice(filter(None, itertools.starmap(mutate, candidates)), SAMPLE.get(folder, OTHERS))
    yield from sorted(chosen, key=lambda mutant: (mutant["file"], mutant["line"]))


def modules_of(file):
    return [f"tests/unit/test_{name}.py" for table in TABLE.values() for name in table.get(file, [])]


def run_tests(modules, *options):
    """pytest's exit status, or None after TIMEOUT, and the seconds."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        target = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.chdir(TREE)
        sys.dont_write_bytecode = "-x" in options  # a mutant's byte code is never found by the next
        left_out = [f"--deselect={test}" for test in DESELECTED]
        status = pytest.main(["-q", "--tb=line", "-p", "no:cacheprovider", *options, *left_out, *modules])
        sys.stdout.flush()
        os._exit(int(status))
    try:
        while time.monotonic() < started + TIMEOUT:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), time.monotonic() - started
            time.sleep(0.02)
        return None, time.monotonic() - started
    finally:
        # what the tests started, and after the time limit the tests themselves
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def identity(mutant):
    return digest(mutant["file"], mutant["source"])


def tests_of(mutant):
    return digest(*((TREE / module).read_text() for module in modules_of(mutant["file"])))


def change(mutant):
    """The removed and the added lines, without their indentation."""
    old = (ROOT / PACKAGE / mutant["file"]).read_text().splitlines()
    lines = [line for line in difflib.ndiff(old, mutant["source"].splitlines()) if line[:2] in ("- ", "+ ")]
    return ["\n".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+"]


def why_equivalent(file, old, new):
    return next((e["why"] for e in EQUIVALENT.get(file, []) if (e["old"], e["new"]) == (old, new)), None)


def results():
    path = OUT / "results.jsonl"
    return {r["mutant"]: r for r in map(json.loads, path.read_text().splitlines())} if path.exists() else {}


def print_table(selected):
    """The table, and build/mutants/survivors.txt."""
    done, survivors = results(), []
    print("\n| folder | mutants | caught | equivalent | share |\n|---|---|---|---|---|")
    for folder in selected:
        found = [done[d] for d in map(identity, sample(folder)) if d in done]
        left = [r for r in found if not r["caught"]]
        equivalent = [r for r in left if why_equivalent(r["file"], r["old"], r["new"])]
        survivors += [r for r in left if r not in equivalent]
        caught = len(found) - len(left)
        share = caught / max(1, len(found) - len(equivalent))
        print(f"| {folder} | {len(found)} | {caught} | {len(equivalent)} | {share:.0%} |")
    text = "".join(f"{r['file']}:{r['line']} {r['operator']}\n- {r['old']}\n+ {r['new']}\n\n" for r in survivors)
    (OUT / "survivors.txt").write_text(text)
    print(f"\n{len(survivors)} survivors that are not known to be equivalent: {OUT / 'survivors.txt'}")


def copy_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)


@functools.cache
def check(module):
    """Runs a test module without a change; tests that fail are left out from here on."""
    status, seconds = run_tests([module], "-W", "ignore")
    failed = re.findall("^(?:FAILED|ERROR) (tests/[^ ]+)", OUTPUT.read_text(errors="replace"), re.M)
    if status != 0 and not failed:
        raise SystemExit(f"{module} cannot be run without a change: see {OUTPUT}")
    DESELECTED.extend(failed)
    print(f"without a change: {module} {seconds:.1f} s", *failed, sep="\n  left out: ", flush=True)


def test(mutant):
    """The result of running the tests on a mutant."""
    modules = modules_of(mutant["file"])
    for module in modules:
        check(module)
    file = TREE / PACKAGE / mutant["file"]
    original, times = file.read_bytes(), file.stat()
    file.write_text(mutant["source"])
    try:
        status, seconds = run_tests(modules, "-x")
    finally:
        file.write_bytes(original)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # so that its byte code is found again
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SystemExit(f"no tests in {modules}")
    old, new = change(mutant)
    lines = OUTPUT.read_text(errors="replace").splitlines()
    by = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1] if lines else "")
    result = {key: mutant[key] for key in ("file", "line", "operator")} | {"old": old, "new": new}
    result |= {"caught": status != 0, "status": status, "seconds": round(seconds, 1), "by": by}
    return result | {"mutant": identity(mutant), "tests": tests_of(mutant)}


def run(folders):
    copy_tree()
    os.environ |= {"PYTHONPATH": str(TREE / PACKAGE.parent), "NUMBA_CACHE_DIR": str(OUT / "numba")}
    for library in LIBRARIES:
        importlib.import_module(library)
    from transformers import GPT2LMHeadModel, Trainer  # noqa: F401 - these are imported when they are asked for

    known = results()
    for folder in folders:
        planned = list(sample(folder))
        for number, mutant in enumerate(planned, 1):
            last = known.get(identity(mutant))
            if last and (last["caught"] or last["tests"] == tests_of(mutant)):
                continue
            result = test(mutant)
            with (OUT / "results.jsonl").open("a") as stream:
                stream.write(json.dumps(result) + "\n")
            said = f"{'caught' if result['caught'] else 'SURVIVED'} {result['seconds']} s"
            print(
                f"{folder} {number}/{len(planned)} {said} {mutant['file']}:{mutant['line']} {mutant['operator']}",
                flush=True,
            )
    print("\nleft out:", *DESELECTED, sep="\n  ")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in sys.argv[1:] if name != "--table"] or list(TABLE)
    if "--table" not in sys.argv:
        run(chosen)
    print_table(chosen)
