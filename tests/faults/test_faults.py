"""Faults of every sort befall the whole workflow, tiny: each ends with the bytes of an undisturbed run.

Where a call cannot go on it says why in one line, without a traceback, and the next call does the rest.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from e2e.checkout import environment
from faults import harm

KILLS = 25


def ends_equal(checkout, undisturbed, overlay=None):
    """One more call does what is left, and then there is nothing left to do."""
    checkout.run(overlay=overlay)
    same(checkout, undisturbed)


def same(checkout, undisturbed):
    expected, found = undisturbed.digests("verify.csv"), checkout.digests("verify.csv")
    assert {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)} == set()


# --- processes


def test_kills(finished, tmp_path, seed, report_row):
    """SIGKILL of any process of a call, at any time, KILLS times over as many runs of the workflow as that takes."""
    chance, victims, runs = random.Random(seed), Counter(), 0
    while victims.total() < KILLS:
        runs += 1
        checkout = finished.clean(tmp_path / f"run{runs}")
        while victims.total() < KILLS:
            process = checkout.start()
            after = chance.uniform(1, 15)
            victim = harm.killed(process, chance, after)
            print(f"seed {seed}, run {runs}: {victim or 'nothing'} killed after {after:.1f} s")
            if victim:
                victims[victim] += 1
                continue
            process.communicate()
            if process.returncode == 0:
                break
        ends_equal(checkout, finished)
        assert not [name for name in checkout.results() if name.endswith((".tmp", ".part", ".lock"))]
    killed = ", ".join(f"{name} {count}" for name, count in victims.most_common())
    report_row("kills", f"{victims.total()} SIGKILLs over {runs} runs, seed {seed}: {killed}", "byte-equal")


def test_two_calls_at_once(fresh, finished, report_row):
    """The second is refused, by Snakemake's lock; where both go on (--nolock), each run has one writer."""
    first = fresh.start()
    wait_for(first, lambda: fresh.path(".snakemake/locks").is_dir() and any(fresh.path(".snakemake/locks").iterdir()))
    beside = fresh.run(status=1)
    assert "cannot be locked" in beside.said
    assert harm.TRACEBACK not in beside.said
    said, _ = first.communicate(timeout=900)
    assert first.returncode == 0, said
    same(fresh, finished)
    report_row("two calls at once", "a second call while the first works", "one refused in one line, byte-equal")


def test_two_calls_at_once_without_a_lock(fresh, finished, report_row):
    both = [fresh.start("--nolock", "--keep-going") for _ in range(2)]
    said = [process.communicate(timeout=900)[0] for process in both]
    for text in said:
        assert harm.TRACEBACK not in text, text
    ended = [process.returncode for process in both]
    ends_equal(fresh, finished)
    report_row("two calls at once", f"both with --nolock: exit statuses {ended}", "byte-equal after one more call")


def test_another_configuration_while_an_orphan_of_a_killed_call_is_left(finished, other, tmp_path, report_row):
    """The orphan is stopped when its Snakemake is killed, so that it cannot end; it wakes once all is done."""
    checkout = finished.clean(tmp_path / "checkout")
    first = checkout.start("histories")
    wait_for(first, lambda: "train" in harm.processes(first).values())
    (orphan, *others) = [pid for pid, name in harm.processes(first).items() if name == "train"]
    os.kill(orphan, signal.SIGSTOP)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    checkout.path("overlay.yaml").write_text(other.path("overlay.yaml").read_text())
    ended = checkout.start(overlay="overlay.yaml")
    said, _ = ended.communicate(timeout=900)
    os.kill(orphan, signal.SIGCONT)
    harm.gone(first)
    assert harm.TRACEBACK not in said, said
    ends_equal(checkout, other, overlay="overlay.yaml")
    outcome = "byte-equal" if ended.returncode == 0 else "one line; byte-equal after one more call"
    report_row("another configuration", f"with {1 + len(others)} orphans of a killed call", outcome)


def wait_for(process, true):
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- disks


def first_jobs(checkout):
    """Rule → output files of its first job in the finished run; the last rule first, so that none reads of a later."""
    logs = checkout.path(".snakemake/log").glob("*.snakemake.log")  # also of the second Snakemake that makes the report
    log = max(logs, key=lambda path: path.stat().st_size)
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: (.*)$", log.read_text(), re.MULTILINE)
    first = {}
    for rule, files in jobs:
        first.setdefault(rule, files.split(", "))
    return dict(reversed(first.items()))


def test_a_full_disk_in_each_stage(clone, finished, report_row):
    if not harm.may_mount():
        pytest.skip("no permission to mount a tmpfs")
    stages, said = first_jobs(finished), {}
    with harm.small_disk(clone.path("results"), 128) as disk:
        for rule, outputs in stages.items():
            for output in outputs:
                clone.path(output).unlink()
            ballast = harm.fill(disk, leave=4096)
            said[rule] = harm.clear(clone.run(outputs[0], status=1, cores=1))
            assert not [output for output in outputs if clone.path(output).exists()]
            ballast.unlink()
        ends_equal(clone, finished)
    full = [rule for rule, lines in said.items() if any("No space left" in line or "needs" in line for line in lines)]
    assert set(full) == set(stages)
    report_row("disk full", f"a tmpfs without room for {len(stages)} rules", "one line each, then byte-equal")


def test_results_that_turn_read_only(fresh, finished, report_row):
    """While jobs train; and at the start of a call."""
    read_only = "chmod -R a-w results"
    process = fresh.start("--keep-going", through=harm.OBEYS)
    wait_for(process, lambda: fresh.path("results/logs/train").is_dir())
    subprocess.run(read_only, shell=True, cwd=fresh.folder, check=True)
    said, _ = process.communicate(timeout=300)
    assert process.returncode
    assert harm.TRACEBACK not in said, said
    assert "cannot be written" in said or "Write-protected output files" in said, said
    subprocess.run("chmod -R u+w results", shell=True, cwd=fresh.folder, check=True)
    ends_equal(fresh, finished)
    report_row("results turn read-only", "chmod while runs train", "one line, then byte-equal")


# --- the clock


@pytest.mark.parametrize("hours", [-24, 24])
def test_the_clock_is_set(clone, finished, hours, report_row):
    """As if it had been set between two calls: all that was made is a day older, or of tomorrow."""
    for top in ("results", ".snakemake"):
        for path in clone.path(top).rglob("*"):
            status = path.stat()
            moved = [one + hours * 3_600_000_000_000 for one in (status.st_atime_ns, status.st_mtime_ns)]
            os.utime(path, ns=tuple(moved))
    for name in ("results/normal/run_001/embedding_evolution.safetensors", "results/thimble/summary.csv"):
        clone.path(name).unlink()
    outcome = "byte-equal, one run trained"
    if hours > 0:  # Snakemake takes no output that is older than an input
        said = clone.run(status=1).said
        assert "could indicate a clock skew problem" in said
        assert harm.TRACEBACK not in said
        for path in clone.path("results").rglob("*"):
            path.touch()
        outcome = f"one line; all files touched: {outcome}"
    ran = clone.run()
    assert ran.jobs["train"] == sorted(job for job in ran.jobs["train"] if "/normal/" in job)
    same(clone, finished)
    report_row("clock", f"all files {hours:+d} hours, two missing", outcome)


# --- files


def until_it_succeeds(checkout, damaged):
    """Call after call until one succeeds. Returns the calls, and the files that those that failed named."""
    named, calls = set(), 0
    while True:
        calls += 1
        ran = checkout.run("--keep-going", status=ANY)
        if ran.status == 0:
            return calls, named
        assert calls < 12, ran.said
        lines = "\n".join(harm.clear(ran))
        named |= {path for path in damaged if str(path.relative_to(checkout.folder)) in lines}


ANY = type("Any", (), {"__eq__": lambda self, status: True})()  # a status that every status equals


def damage(checkout, kind, seed, other):
    """Harm one file of each kind; the files that are others than before."""
    chance, harmed = random.Random(seed), []
    for path in harm.kinds(checkout):
        before = path.read_bytes()
        if kind == "foreign":
            counterpart = other.path(path.relative_to(checkout.folder))
            if counterpart.is_file():
                harm.exchange(path, counterpart)
        else:
            getattr(harm, kind)(path, chance)
        if path.read_bytes() != before:
            harmed.append(path)
    return harmed


def set_aside(checkout):
    """What `verify` names as damaged or foreign; it is set aside."""
    command = [sys.executable, "-m", "blackholes.verify", "results", "--set-aside"]
    path = {"PYTHONPATH": str(checkout.path("workflow/scripts"))}
    ran = subprocess.run(command, cwd=checkout.folder, env=environment() | path, capture_output=True, text=True)
    assert "Traceback" not in ran.stderr
    return {checkout.path(name) for name in re.findall(r"^(?:damaged|foreign): (.*?): ", ran.stdout, re.MULTILINE)}


@pytest.mark.parametrize("kind", ["truncate", "flip", "flip_and_keep_the_time", "foreign"])
def test_a_file_of_every_kind_is_harmed(clone, finished, request, kind, seed, report_row):
    """Jobs name what they read, and the next call makes it anew; `verify` names the rest."""
    harmed = damage(clone, kind, seed, request.getfixturevalue("other") if kind == "foreign" else None)
    calls, named = until_it_succeeds(clone, harmed)
    found = set_aside(clone)
    made = {path for path in harmed if path not in found}
    assert named <= made, "a file that was named was not made anew"
    ends_equal(clone, finished)
    assert set_aside(clone) == set()
    words = f"{len(harmed)} kinds: {len(made)} made anew by {calls} calls ({len(named)} named), {len(found)} by verify"
    report_row(kind.replace("_", " "), words, "byte-equal")
