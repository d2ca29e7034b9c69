"""What people do first, and what must not go wrong then: another folder, a missing text, results of other settings."""

import subprocess
import sys

import torch
from e2e.checkout import ROOT, Ran, environment
from safetensors.torch import save_file


def call(folder, *arguments, status=0):
    """Snakemake in another folder, with the workflow of this working tree. Nothing but dry runs: it is not copied."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2", "--directory", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), text=True, capture_output=True)
    assert done.returncode == status, done.stdout + done.stderr
    return Ran(done.returncode, done.stdout + done.stderr)


def test_in_another_folder_the_base_configuration_is_the_one_beside_the_snakefile(tmp_path):
    jobs = call(tmp_path, "--configfile", "config/quick.yaml").jobs
    runs = [file for rule in jobs if rule.startswith("train") for file in jobs[rule] if file.endswith("log.csv")]
    counts = {"qwen": 4, "normal": 2, "thimble": 1}
    expected = [f"results/quick/{name}/run_{run:03d}" for name, n in counts.items() for run in range(1, n + 1)]
    assert sorted(runs) == sorted(f"{run}/training_log.csv" for run in expected)
    files = [file for files in jobs.values() for file in files]
    assert all(file.startswith("results/quick/") for file in files)


def test_an_overlay_alone_is_refused(tmp_path):
    said = call(tmp_path, "--configfile", "config/quick.yaml", "--replace-workflow-config", status=1).said
    assert "configuration: config/config.yaml, which has every key, is not part of it: no corpus, training" in said


def test_a_key_given_twice_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_text("figures: {dpi: 60}\nexperiments: {qwen: {runs: 2}}\nfigures: {dpi: 70}\n")
    said = call(tmp_path, "--configfile", str(tmp_path / "my.yaml"), status=1).said
    assert f"configuration: {tmp_path / 'my.yaml'}: line 3: figures: given twice, first in line 1" in said
    assert "Traceback" not in said


def test_a_text_and_a_checkpoint_that_are_missing_are_refused_before_anything_is_planned(tmp_path):
    lines = ["corpus: {source: file, path: my.txt}", "checkpoints: {mine: {path: model}}"]
    (tmp_path / "my.yaml").write_text("\n".join(lines))
    ran = call(tmp_path, "--configfile", str(tmp_path / "my.yaml"), status=1)
    assert f"configuration: my.txt: no such file (corpus.path, from {tmp_path})" in ran.said
    assert "checkpoints.mine: model: no such file or folder" in ran.said
    assert "Traceback" not in ran.said
    assert ran.jobs == {}


def test_a_text_of_ones_own_trains_nothing_else(tmp_path):
    (tmp_path / "my_text.txt").write_text("A small text, of no more than a few words. " * 10)
    ran = call(tmp_path, "--configfile", "config/my_text.yaml", "--config", "experiment_defaults={steps: 700}")
    runs = {file.split("/")[3] for rule in ran.jobs if rule.startswith("train") for file in ran.jobs[rule]}
    assert runs == {"qwen", "normal"}
    assert "thimble" not in ran.said
    assert "bpe" not in ran.said


def test_a_checkpoint_of_ones_own_is_all_that_is_looked_at(tmp_path):
    """No training, no snowballs; the report shows the checkpoint alone."""
    (tmp_path / "model").mkdir()
    save_file({"wte.weight": torch.zeros(30, 4)}, tmp_path / "model/model.safetensors")
    checkpoint = "checkpoints={mine: {path: model}}"
    jobs = call(tmp_path, "--configfile", "config/my_checkpoint.yaml", "--config", checkpoint).jobs
    made = {"read_checkpoint", "census", "overdensity", "overdensity_distances", "token_table", "checkpoint_figures"}
    assert jobs.keys() == made | {"report", "page"}
    assert jobs["report"] == ["results/checkpoint/mine/report.html"]


def test_finished_runs_of_other_settings_are_not_replaced(clone):
    """A dry run says so, the call is refused before a file changes, and with overwrite=true it is not."""
    clone.path("my.yaml").write_text("experiments: {normal: {learning_rate: 0.002}}\n")
    target, before = "results/normal/run_001/training_log.csv", clone.digests()
    line = "normal/run_001: learning_rate: 0.001 → 0.002"
    planned = clone.plan(target, overlay="my.yaml").said
    assert "without --dry-run this call is refused:" in planned
    assert line in planned
    refused = clone.run(target, overlay="my.yaml", status=1).said
    assert line in refused
    assert "--config overwrite=true" in refused
    assert "Traceback" not in refused
    assert clone.digests() == before
    assert clone.run(target, "--config", "overwrite=true", overlay="my.yaml").jobs.keys() == {"train"}
    assert clone.digests() != before


def test_a_plain_call_ends_with_the_table_and_the_address_of_the_page(clone):
    clone.path("results/index.html").unlink()
    clone.path("results/qwen/summary.csv").unlink()
    ran = clone.run()
    assert {"summarise", "page"} <= set(ran.jobs)
    first = "summarise qwen: step 30, mean of 2 runs: "
    table, page = "qwen: means over 2 runs; ", f"The page: {clone.path('results/index.html').resolve().as_uri()}"
    places = [ran.said.find(text) for text in (first, table, page, "Next:")]
    assert min(places) > -1
    assert places == sorted(places)
    clone.path("results/qwen/increases.csv").unlink()
    assert "Next:" not in clone.run("results/qwen/increases.csv").said  # of a single file no table is wanted
