"""Runs that record forces: which jobs run, alone and in packs, and what is there in the end."""

import csv

from e2e.checkout import metadata
from safetensors import safe_open

RUN = "results/normal/run_001"
OVERLAY = "forces.yaml"


def recording(checkout, text):
    checkout.path(OVERLAY).write_text(text)
    return OVERLAY


def test_only_what_is_recorded_is_trained_again_with_the_same_bytes(clone):
    before = clone.digests()
    overlay = recording(clone, "experiments: {normal: {record: full}}\n")
    ran = clone.run("forces", "statistics", overlay=overlay)
    assert {rule: len(files) > 0 for rule, files in ran.jobs.items()} == dict.fromkeys(
        ("train_normal_recorded", "freeze", "forces_figures"), True
    )
    after = clone.digests()
    assert {name: after.get(name) for name in before} == before
    made = {name.removeprefix("normal/run_001/") for name in set(after) - set(before)}
    figures = {
        f"figures/forces_{name}.{kind}"
        for name in ("moves", "parts", "swarm", "probability")
        for kind in ("png", "svg")
    }
    assert made == {"forces.safetensors", "freeze.csv", "law.csv", "forces_series.safetensors", *figures}
    with safe_open(clone.path(f"{RUN}/forces.safetensors"), "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in ("gradient", "hidden_mean", "term_full")]
    assert shapes == [[30, 128], [30, 16], [30, 128, 16]]
    for name in ("forces", "forces_series"):
        assert "config_digest" in metadata(clone.path(f"{RUN}/{name}.safetensors"))
    with open(clone.path(f"{RUN}/law.csv"), newline="") as file:
        law = {row["check"]: (int(row["checked"]), int(row["mismatches"])) for row in csv.DictReader(file)}
    assert law["next weights"] == (30 * 128 * 16, 0)
    assert all(wrong == 0 for _, wrong in law.values())
    assert "Nothing to be done" in clone.plan("forces", "histories", overlay=overlay).said


def test_recorded_runs_of_a_pack(fresh):
    """The pack writes the forces of those of its runs that are recorded; without packs a job of their own does."""
    overlay = (
        "experiments: {{qwen: {{runs: 4, record: {{forces: summary, runs: [2]}}}}}}\ntraining: {{runs_per_job: {}}}\n"
    )
    for size, rule in ((2, "train_qwen_001_002"), (1, "train_qwen_recorded")):
        jobs = fresh.plan("results/qwen/run_002/freeze.csv", overlay=recording(fresh, overlay.format(size))).jobs
        assert set(jobs) == {"prepare_corpus", rule, "freeze"}
        assert [file for file in jobs[rule] if "forces" in file] == ["results/qwen/run_002/forces.safetensors"]
    jobs = fresh.plan("histories", overlay=OVERLAY).jobs
    assert len(jobs["train_qwen_recorded"]) == 5
    said = fresh.run("results/qwen/run_001/forces.safetensors", "--dry-run", overlay=OVERLAY, status=None).said
    assert "MissingRuleException" in said
