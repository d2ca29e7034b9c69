"""Motion on the lattice through Snakemake: of two runs, of a file of one's own, and what is refused."""

import csv
import json

import h5py
import torch
from blackholes.artifacts.histories import open_history
from blackholes.kernels import lattice
from e2e.checkout import metadata
from safetensors import safe_open

FIGURES = ["percentiles", "phases", "motion", "raster", "crossings"]
TABLES = [
    *("displacement_overall.csv", "displacement_per_step.csv", "integer_types.csv", "lifecycle.csv"),
    *("lifecycle_medians.csv", "odd_samples.csv", "validation.csv"),
]
TENSORS = ["displacement_norms.safetensors", "lattice_displacements.safetensors", "raster.safetensors"]
HISTORIES = {  # name → its history, the corpus that says what is dead
    "qwen": ("qwen/run_001/embedding_evolution.safetensors", "corpus/builtin/tokens.safetensors"),
    "thimble": ("thimble/run_001/embedding_evolution.safetensors", "corpus/builtin-bpe1200/tokens.safetensors"),
}


def tensors(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping


def validation(checkout, name):
    with open(checkout.path(f"results/lattice/{name}/validation.csv"), newline="", encoding="utf-8") as file:
        return {row["kind"]: row for row in csv.DictReader(file)}


def test_files_of_two_runs(finished):
    wanted = [*TENSORS, *TABLES, *(f"figures/lattice_{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))]
    found = [name for name in finished.results() if name.startswith("lattice/")]
    assert found == sorted(f"lattice/{name}/{file}" for name in HISTORIES for file in wanted)
    page = finished.path("results/report.html").read_text(encoding="utf-8")
    assert all(f"lattice_{name}.png" in page for name in FIGURES)
    assert '"Lattice"' in page


def test_displacements_of_two_runs(finished):
    for name, (path, corpus) in HISTORIES.items():
        with open_history(str(finished.path(f"results/{path}"))) as history:
            snapshots = history.rows(0, history.steps)
        file = finished.path(f"results/lattice/{name}/lattice_displacements.safetensors")
        found, dead = tensors(file), tensors(finished.path(f"results/{corpus}"))["dead_mask"]
        delta = lattice.displacement(snapshots[:-1], snapshots[1:])
        assert torch.equal(found["delta_W_prime"].double(), delta.double().round())
        cells = lattice.delta_ordinal(snapshots[:-1], snapshots[1:])
        assert torch.equal(found["delta_ordinal"].int(), cells)
        assert torch.equal(found["exponent_crossings"], lattice.exponent_crossings(snapshots[:-1], snapshots[1:]))
        assert torch.equal(found["dead_mask"], dead)
        assert found["n_dead"] == dead.sum() == len(found["dead_token_ids"])
        assert "U" not in found
        table = validation(finished, name)
        assert int(table["transitions"]["count"]) == delta.numel()
        assert int(table["with_exponent_crossing"]["count"]) == found["exponent_crossings"].sum()
        assert int(table["moved"]["count"]) == (cells != 0).sum()
        assert table["stored_crossing_with_stored_delta_ordinal_0"]["count"] == "0"
        assert set(json.loads(metadata(file)["input_digests"])) == {"history", "dead_mask"}


def test_memory_reruns_nothing_and_what_is_kept_reruns_that(clone):
    clone.path("overlay.yaml").write_text("lattice: {qwen: {memory_budget_gb: 1}, thimble: {keep: [U]}}\n")
    jobs = clone.plan("lattice", overlay="overlay.yaml").jobs
    assert set(jobs) == {"lattice_displacements", "lattice_figures"}
    assert all("/thimble/" in file for files in jobs.values() for file in files)


def own_file(path, key="E"):
    random = torch.Generator().manual_seed(0)
    walk = (1 + 0.02 * torch.randn(9, 7, 4, generator=random)).bfloat16()
    with h5py.File(path, "w") as file:
        file[key] = walk.view(torch.uint16).numpy()


def test_a_file_of_ones_own(fresh):
    """Nothing is trained for it; tokens are not told apart, and the job says so."""
    own_file(fresh.path("mine.h5"))
    fresh.path("overlay.yaml").write_text("lattice: {mine: {path: mine.h5, key: E, keep: [], token: 6}}\n")
    ran = fresh.run("results/lattice/mine/figures/lattice_phases.png", overlay="overlay.yaml")
    assert set(ran.jobs) == {"lattice_displacements", "lattice_figures"}
    assert "lattice_displacements mine: 224 transitions (no displacements stored); " in ran.said
    assert "dead tokens unknown" in ran.said
    found = tensors(fresh.path("results/lattice/mine/lattice_displacements.safetensors"))
    assert set(found) == {"n_steps", "n_tokens", "n_dims"}


def test_refusals(fresh):
    """One call, three bad histories: each job says in one line what is wrong with its own, and leaves nothing."""
    own_file(fresh.path("mine.h5"))
    fresh.path("short.h5").write_bytes(fresh.path("mine.h5").read_bytes()[:-50])
    entries = "a: {path: none.h5}, b: {path: mine.h5}, c: {path: short.h5, key: E}"
    fresh.path("overlay.yaml").write_text(f"lattice: {{{entries}}}\n")
    targets = [f"results/lattice/{name}/validation.csv" for name in "abc"]
    ran = fresh.run(*targets, overlay="overlay.yaml", status=1)
    for line in (
        "lattice_displacements a: error: none.h5: no such file",
        "lattice_displacements b: error: mine.h5: no dataset 'W' (uint16 (S, V, D), the bits of bfloat16)",
        "lattice_displacements c: error: short.h5: not a complete HDF5 file",
    ):
        assert len([text for text in ran.said.splitlines() if text.startswith(line)]) == 1, ran.said
    assert "Traceback" not in ran.said
    assert fresh.results("logs/", "benchmarks/") == []
