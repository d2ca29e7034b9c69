"""What is mended of Snakemake's SLURM executor, with commands of SLURM's that a test writes itself."""

import asyncio
import inspect
import logging
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
import yaml
from blackholes.orchestration import slurm
from snakemake.exceptions import WorkflowError
from snakemake.resources import GroupResources, Resources

ROOT = Path(__file__).resolve().parents[2]
UUID = "0f5e9c1a-1111-4222-8333-0123456789ab"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Writes a shell script that is found under the name of a command; what it was called with is in <name>.called."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name, script):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.called\n{script}\n')
        path.chmod(0o755)
        return tmp_path / f"{name}.called"

    return write


def answers(*given, monkeypatch=None):
    """A query that gives one answer after the other."""
    left = list(given)

    async def query(command, logger):
        assert command == "squeue"
        return left.pop(0)

    return slurm.patient(query), left


def asked(ask):
    return asyncio.run(ask("squeue", logging.getLogger()))


def test_an_answer_is_passed_on():
    ask, _ = answers(({"1": "RUNNING", "2": "COMPLETED"}, 0.1))
    assert asked(ask) == ({"1": "RUNNING", "2": "COMPLETED"}, 0.1)


def test_an_outage_is_waited_out_and_said_once(monkeypatch, capsys):
    monkeypatch.setattr(slurm, "_ASK_AGAIN", 0.0)
    ask, left = answers(*[(None, None)] * 9, ({"1": "RUNNING"}, 0.1))
    assert asked(ask) == ({"1": "RUNNING"}, 0.1)
    assert left == []
    assert capsys.readouterr().err == (
        "SLURM does not answer; waiting until it does. Jobs go on meanwhile\nSLURM answers again\n"
    )


@pytest.mark.parametrize(
    ("now", "state"), [("PENDING", "PENDING"), ("RUNNING", "RUNNING"), ("PREEMPTED", "CANCELLED"), (None, "CANCELLED")]
)
def test_a_preempted_job_has_ended_unless_it_was_queued_again(command, now, state):
    called = command("squeue", f"echo '7|{now}'" if now else "exit 1")
    ask, _ = answers(({"7": "PREEMPTED", "8": "RUNNING"}, 0.1))
    assert asked(ask)[0] == {"7": state, "8": "RUNNING"}
    assert "--jobs=7 " in called.read_text()


def test_the_plugin_asks_where_it_is_mended():
    """The names that `start` replaces are those that the plugin calls, as they are called here."""
    assert " get_min_job_age()\n" in inspect.getsource(plugin.Executor.check_active_jobs)
    assert "await query_job_status(" in inspect.getsource(plugin.Executor.check_active_jobs)
    assert list(inspect.signature(plugin.query_job_status).parameters) == ["command", "logger"]
    assert "PREEMPTED" not in inspect.getsource(plugin.Executor.check_active_jobs).partition("fail_stati")[2][:300]


def test_sacct_is_kept_where_it_works(command):
    command("sacct", "exit 0")
    settings = SimpleNamespace(status_command="sacct")
    assert slurm.choose_status_command(settings) == "sacct"
    assert settings.status_command == "sacct"


def test_squeue_is_asked_where_sacct_fails(command, capsys):
    command("sacct", "echo accounting storage is disabled >&2; exit 1")
    command("scontrol", "echo 'MinJobAge               = 300 sec'")
    settings = SimpleNamespace(status_command="sacct")
    assert slurm.choose_status_command(settings) == "squeue"
    assert settings.status_command == "squeue"
    assert capsys.readouterr().err == (
        "squeue is asked for the states of jobs, since sacct says: accounting storage is disabled\n"
    )


def test_where_neither_tells_how_jobs_ended_nothing_starts(command):
    command("sacct", "echo accounting storage is disabled >&2; exit 1")
    command("scontrol", "echo 'MinJobAge               = 60 sec'")
    with pytest.raises(WorkflowError, match=r"'accounting storage is disabled', and MinJobAge in slurm.conf is 60 s"):
        slurm.choose_status_command(SimpleNamespace(status_command="sacct"))


def test_a_choice_of_the_user_is_kept(command):
    command("sacct", "exit 1")
    settings = SimpleNamespace(status_command="squeue")
    assert slurm.choose_status_command(settings) == "squeue"
    assert settings.status_command == "squeue"


@pytest.mark.parametrize(("sacct", "replaced"), [("exit 1", True), ("exit 0", False)])
def test_an_outage_never_turns_the_plugin_to_a_sacct_that_does_not_work(
    command, monkeypatch, tmp_path, sacct, replaced
):
    """It did, if the controller was away just when the plugin looked up MinJobAge: it then asked sacct for ever."""
    for name in ("query_job_status", "get_min_job_age"):
        monkeypatch.setattr(plugin, name, getattr(plugin, name))
    command("sacct", sacct)
    settings = SimpleNamespace(status_command="sacct")
    command("squeue", "exit 0")  # no job of another call, should this process be alone in its folder
    executor = SimpleNamespace(name="slurm")
    slurm.start(SimpleNamespace(executor_plugin=executor, executor_settings=settings, workdir_init=tmp_path))
    command("scontrol", "exit 1")  # the controller is away
    assert plugin.get_min_job_age() == (math.inf if replaced else None)


def test_jobs_that_a_killed_snakemake_left_in_this_folder_are_cancelled(command, tmp_path, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    jobs = [
        f"11|blackholes_{UUID}|{tmp_path}/here",
        f"12|{UUID}|{tmp_path}/link",
        f"13|blackholes_{UUID}|{tmp_path}/elsewhere",
        f"14|mine|{tmp_path}/here",
        f"15|blackholes_{UUID}x|{tmp_path}/here",
    ]
    listed = "; ".join(f"echo '{job}'" for job in jobs)
    command("squeue", f"test -e {tmp_path}/scancel.called || {{ {listed}; }}")
    cancelled = command("scancel", "exit 0")
    assert slurm.cancel_orphans(tmp_path / "here") == ["11", "12"]
    assert cancelled.read_text() == "11 12\n"
    assert capsys.readouterr().err == "jobs of a Snakemake that was killed are cancelled: 11, 12\n"


def test_nothing_is_cancelled_where_nothing_is_left(command, tmp_path):
    command("squeue", "exit 0")
    cancelled = command("scancel", "exit 0")
    assert slurm.cancel_orphans(tmp_path) == []
    assert not cancelled.exists()


def wants(threads, **resources):
    """A job of a group, and what it asks for."""
    return SimpleNamespace(resources={"_cores": threads, "_nodes": 1, **resources}, pipe_group=None)


@pytest.mark.parametrize(
    ("executor", "threads", "memory", "gpus", "minutes"),
    [("slurm", 4, 3000, 1, 75), ("cluster-generic", 6, 6000, 2, 45), (None, 6, 6000, 2, 45)],
)
def test_a_group_asks_for_its_largest_job_and_the_minutes_of_all(executor, threads, memory, gpus, minutes, monkeypatch):
    monkeypatch.setattr(GroupResources, "basic_layered", GroupResources.basic_layered)
    slurm.ask_for_one_at_a_time(SimpleNamespace(executor_plugin=executor and SimpleNamespace(name=executor)))
    small, large = wants(1, mem_mb=1500, runtime=10, gpu=1), wants(4, mem_mb=3000, runtime=45, gpu=0)
    last = wants(1, mem_mb=1500, runtime=20, gpu=1)
    asked_for = GroupResources.basic_layered(
        toposorted_jobs=[{1: small, 2: large, 3: last}.values()], constraints=Resources(), run_local=False
    )
    assert {name: asked_for[name] for name in ("_cores", "mem_mb", "gpu", "runtime")} == {
        "_cores": threads,
        "mem_mb": memory,
        "gpu": gpus,
        "runtime": minutes,
    }


def test_the_plugin_runs_the_jobs_of_a_group_one_after_the_other():
    assert "--executor slurm-jobstep --jobs 1" in inspect.getsource(plugin.Executor.additional_general_args)


def test_the_profile_groups_rules_that_exist_and_has_a_number_for_every_group():
    """Snakemake passes over a name that is no rule's, and submits the jobs of a group without a number one by one."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    rules = {name for text in texts for name in re.findall(r"^rule (\w+):", text, re.MULTILINE)}
    assert len(rules) > 30
    assert set(profile["groups"]) <= rules
    assert set(profile["groups"].values()) == set(profile["group-components"])


def rule(name, **resources):
    return SimpleNamespace(name=name, resources=resources)


def test_the_resource_gpus_is_refused():
    with pytest.raises(WorkflowError, match=r"resources: gpus of train is not allowed; expected gpu, as in gpu=1"):
        slurm.refuse_gpus(SimpleNamespace(rules=[rule("train", gpus=1), rule("census", gpu=1)]))
    slurm.refuse_gpus(SimpleNamespace(rules=[rule("train", gpu=1, mem_mb=3)]))


@pytest.mark.parametrize("executor", [None, "local", "dryrun"])
def test_nothing_is_done_where_jobs_do_not_run_through_slurm(executor, monkeypatch):
    monkeypatch.setattr(slurm, "choose_status_command", pytest.fail)
    slurm.start(SimpleNamespace(executor_plugin=executor and SimpleNamespace(name=executor)))
