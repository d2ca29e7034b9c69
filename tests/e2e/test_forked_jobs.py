"""Scripts as forks of one process: what a script can tell of how it was started, in a small workflow of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "workflow/scripts"

SNAKEFILE = """
import sys
sys.path.insert(0, {package!r})
from blackholes.orchestration import forked_jobs
if workflow.is_main_process:
    forked_jobs.install(workflow)

rule all:
    input: expand("{{n}}.json", n=range(6))

rule one:
    output: "{{n}}.json"
    benchmark: "{{n}}.tsv"
    threads: lambda wildcards: 1 + int(wildcards.n) % 2
    script: "one.py"

rule ends:
    output: "{{status}}.txt"
    script: "ends.py"
"""

ONE = """
import sys
imported = "torch" in sys.modules
import json, os, tempfile, time
import torch
time.sleep(0.3)
said = {
    "imported": imported, "pid": os.getpid(), "parent": os.getppid(), "torch": torch.get_num_threads(),
    "env": os.environ["OMP_NUM_THREADS"], "tmp": tempfile.gettempdir(), "file": __file__, "folder": os.getcwd(),
    "left": getattr(torch, "left_by_another_job", None),
}
torch.left_by_another_job = True
open(snakemake.output[0], "w").write(json.dumps(said))
"""

ENDS = """
import sys
if snakemake.wildcards.status == "raises":
    raise ValueError("what the script raised")
sys.exit(int(snakemake.wildcards.status))
"""


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "--default-resources", "tmpdir='tmp'"]
    return subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)


@pytest.fixture
def workflow(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(package=str(PACKAGE)))
    (tmp_path / "one.py").write_text(ONE)
    (tmp_path / "ends.py").write_text(ENDS)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_a_script_starts_with_torch_and_sees_its_own_threads_and_folders(workflow):
    ran = snakemake(workflow)
    assert ran.returncode == 0, ran.stdout
    jobs = [json.loads((workflow / f"{n}.json").read_text()) for n in range(6)]
    assert all(job["imported"] for job in jobs)
    assert len({job["pid"] for job in jobs}) == 6
    assert len({job["parent"] for job in jobs}) == 1
    assert [job["torch"] for job in jobs] == [1, 2, 1, 2, 1, 2]
    assert [job["env"] for job in jobs] == ["1", "2", "1", "2", "1", "2"]
    assert {job["folder"] for job in jobs} == {str(workflow)}
    assert {Path(job["tmp"]).resolve() for job in jobs} == {workflow / "tmp"}
    assert {job["file"] for job in jobs} == {str(workflow / "one.py")}
    assert {job["left"] for job in jobs} == {None}
    seconds = [float((workflow / f"{n}.tsv").read_text().split("\n")[1].split("\t")[0]) for n in range(6)]
    assert min(seconds) >= 0.3


def test_the_local_jobs_of_a_cluster_are_no_forks_so_the_login_node_imports_no_torch(workflow):
    (workflow / "Snakefile").write_text(SNAKEFILE.format(package=str(PACKAGE)) + "\nlocalrules: one\n")
    ran = snakemake(workflow, "0.json", "--executor", "slurm", "--jobs", "1")
    assert ran.returncode == 0, ran.stdout
    assert not json.loads((workflow / "0.json").read_text())["imported"]


@pytest.mark.parametrize(("name", "said"), [("3", "exit status 3"), ("raises", "ValueError: what the script raised")])
def test_a_script_that_fails_fails_its_job(workflow, name, said):
    ran = snakemake(workflow, f"{name}.txt")
    assert ran.returncode == 1
    assert said in ran.stdout
    assert "Error in rule ends:" in ran.stdout
