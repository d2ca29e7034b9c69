"""The whole workflow: every file, with its keys, shapes, types and provenance, and no other file."""

import csv
import json
import re
from html import unescape

import pytest
import torch
from blackholes.artifacts.provenance import file_digest
from e2e.checkout import metadata
from safetensors import safe_open

V, D, S = 128, 16, 31  # as in tiny.yaml
RUNS = ["qwen/run_001", "qwen/run_002", "normal/run_001"]
LARGE = "thimble/run_001"  # which has no matrices
EXPERIMENTS = {"qwen": 30, "normal": 30, "thimble": 20}  # name → steps
FIGURES = [
    "black_hole_counts",
    "black_hole_means",
    "centroid",
    "cluster_dynamics",
    "component_sizes",
    "escapes",
    "loss_curves",
    "tokens_per_hole",
]
SNOWBALL_FIGURES = ["snowball_elements", "snowball_permutation", "snowball_singletons", "snowball_sweep", "z_scores"]
I32, F32, BF16 = torch.int32, torch.float32, torch.bfloat16
SERIES = [
    *("centroid_norm", "centroid_displacement", "centroid_distance", "cloud_radius"),
    *(f"token_norm_{kind}" for kind in ("min", "max", "mean", "median", "std")),
]
TENSORS = {
    "embedding_evolution": {"embedding_history": (BF16, (S, V, D))},
    "pairwise_distances": {"chebyshev_distances": (F32, (S, V, V))},
    "black_hole_counts": {
        **dict.fromkeys(("counts", "populations", "largest_bh_size", "n_unique", "n_singletons"), (I32, (S,))),
        "labels": (I32, (S, V)),
    },
    "graph_statistics": {
        f"{graph}.{key}": value
        for graph in ("identical", "touching", "cells")
        for key, value in {
            **dict.fromkeys(("n_components", "largest_component_size", "n_isolated", "n_edges"), (I32, (S,))),
            **dict.fromkeys(("global_density", "largest_component_density"), (F32, (S,))),
            "labels": (I32, (S, V)),
        }.items()
    },
    "geometric_time_series": {"centroid": (F32, (S, D)), **dict.fromkeys(SERIES, (F32, (S,)))},
}
COLUMNS = {
    "training_log.csv": ["step", "loss", "grad_norm", "learning_rate"],
    "events.csv": ["step", "kind", "parents", "children", "tokens"],
    "lineage_events.csv": ["step", "kind", "parents", "children", "n_tokens", "flicker"],
    "lineage.csv": [
        *("hole", "born", "born_by", "died", "died_by", "parents", "children"),
        *("peak_population", "peak_step", "tokens"),
    ],
    "escapes.csv": ["token_id", "text", "count", "escape_step", "censored", "first_input", "first_target"],
}


def expected_files():
    yield from ("index.html", "report.html", "questions.csv", "question_values.csv", "questions.md")
    for corpus in ("builtin", "builtin-bpe1200"):
        yield from (f"corpus/{corpus}/{name}" for name in ("tokens.safetensors", "tokens.csv", "tokenizer.json"))
    for run in [*RUNS, LARGE]:
        absent = ["pairwise_distances"] if run == LARGE else []
        yield from (f"{run}/{name}.safetensors" for name in TENSORS if name not in absent)
        others = ("lineage.graphml", "model/config.json", "model/model.safetensors")
        yield from (f"{run}/{name}" for name in (*COLUMNS, *others))
        yield f"{run}/explorer.safetensors"
    yield from (f"qwen/run_001/figures/escape_film{end}" for end in (".gif", "strip.png", "strip.svg"))
    for kind in ("png", "svg"):
        yield from (f"figures/{name}.{kind}" for name in ("experiments", "distinct_vectors", "questions"))
        for experiment in EXPERIMENTS:
            yield from (f"{experiment}/figures/{name}.{kind}" for name in FIGURES)
            yield from (f"{experiment}/run_001/figures/{name}.{kind}" for name in ("hole_members", "lineage"))
    for experiment in EXPERIMENTS:
        tables = ("summary", "increases", "lineages", "escape_curves", "escape_statistics")
        yield from (f"{experiment}/{name}.csv" for name in tables)
    checkpoint = ("W", "sphere", "black_hole_centroid", "overdensity_distances", "distance_statistics")
    yield from (f"checkpoints/trained/{name}.safetensors" for name in checkpoint)
    tables = ("black_holes.csv", "census.json", "overdensity.csv", "tokens.csv", "ranking.csv")
    yield from (f"checkpoints/trained/{name}" for name in tables)
    for name in ("sky_map", "distance_distribution", "overdensity_graph", "token_ranking"):
        yield from (f"checkpoints/trained/figures/{name}.{kind}" for kind in ("png", "svg"))
    tables = ["trials.csv", "z_scores.csv", "elements.safetensors", "sigmas/global.csv", "sigmas/0.001.csv"]
    tables += ["latent.safetensors", "permutations/0.csv", "permutation_test.csv"]
    yield from (f"snowballs/trained/{name}" for name in tables)
    for name in SNOWBALL_FIGURES:
        yield from (f"snowballs/trained/figures/{name}.{kind}" for kind in ("png", "svg"))


def test_every_file_is_there_and_no_other(finished):
    assert finished.results("logs/", "benchmarks/", "lattice/") == sorted(expected_files())


def test_every_job_has_a_log_a_record_and_a_benchmark(finished):
    files = {
        kind: {
            name.removeprefix(f"{folder}/").removesuffix(f".{kind}")
            for name in finished.results()
            if name.startswith(f"{folder}/") and name.endswith(f".{kind}")
        }
        for kind, folder in {"log": "logs", "json": "logs", "tsv": "benchmarks"}.items()
    }
    records = {name for name in files["json"] if name.startswith("records/")}
    assert files["log"] == files["tsv"] == files["json"] - records
    of_files = {name.removeprefix("records/") for name in records}
    assert of_files == set(finished.results("logs/", "benchmarks/"))
    assert {f"train/{run.replace('/run', '')}" for run in RUNS} < files["log"]
    log = finished.path("results/logs/train/qwen_001.log").read_text()
    assert "train qwen/run_001: step 30/30" in log


def test_the_record_of_a_job_holds_what_its_files_leave_out(finished):
    record = json.loads(finished.path("results/logs/train/qwen_001.json").read_text())
    assert (record["job"], record["threads"]) == ("train qwen/run_001", 1)
    assert record["code_digest"]
    assert record["versions"]["torch"] == torch.__version__
    history = "results/qwen/run_001/embedding_evolution.safetensors"
    assert record["outputs"][history] == file_digest(finished.path(history))
    facts = metadata(finished.path("results/qwen/run_001/black_hole_counts.safetensors"))
    assert json.loads(facts["input_digests"])["history"] == record["outputs"][history]


def test_a_large_vocabulary(finished):
    """Everything but the distance matrices is there."""
    V, S = 1200, 21
    with safe_open(finished.path(f"results/{LARGE}/embedding_evolution.safetensors"), framework="pt") as file:
        history, facts = file.get_tensor("embedding_history"), file.metadata()
    assert (tuple(history.shape), facts["seed"]) == ((S, V, D), "43")
    with safe_open(finished.path(f"results/{LARGE}/model/model.safetensors"), framework="pt") as model:
        assert torch.equal(model.get_tensor("transformer.wte.weight"), history[-1])
    rows = table(finished, "corpus/builtin-bpe1200/tokens.csv")
    dead = [row["status"] == "dead" for row in rows]
    assert 0.3 < sum(dead) / V < 0.45
    for name in ("black_hole_counts", "graph_statistics"):
        with safe_open(finished.path(f"results/{LARGE}/{name}.safetensors"), framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
        assert shapes == {key: (S, V) if "labels" in key else (S,) for key in TENSORS[name]}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("run", RUNS)
def test_tensors_have_their_keys_types_and_shapes(finished, run, name):
    with safe_open(finished.path(f"results/{run}/{name}.safetensors"), framework="pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    assert {key: (value.dtype, tuple(value.shape)) for key, value in found.items()} == TENSORS[name]
    assert all(value.isfinite().all() for value in found.values() if value.is_floating_point())


def test_corpus_tensors(finished):
    with safe_open(finished.path("results/corpus/builtin/tokens.safetensors"), framework="pt") as file:
        ids, counts, dead = (file.get_tensor(key) for key in ("token_ids", "token_counts", "dead_mask"))
    assert (ids.dtype, counts.dtype, dead.dtype) == (torch.uint8, torch.int64, torch.bool)
    assert torch.equal(torch.bincount(ids.long(), minlength=V), counts)
    assert torch.equal(dead, counts == 0)
    rows = table(finished, "corpus/builtin/tokens.csv")
    assert [row["status"] for row in rows] == ["dead" if value else "live" for value in dead]


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("run", RUNS)
def test_tensors_say_where_they_come_from(finished, run, name):
    facts = metadata(finished.path(f"results/{run}/{name}.safetensors"))
    for key in ("config_digest", "input_digests", "versions", "device", "payload_digest"):
        assert facts[key], key
    assert json.loads(facts["versions"])["torch"] == torch.__version__
    inputs = json.loads(facts["input_digests"])
    assert set(inputs) == ({"corpus"} if name == "embedding_evolution" else {"history"})
    assert str(finished.folder) not in json.dumps(facts)
    if name == "embedding_evolution":
        assert facts["seed"] == str(42 + int(run[-3:]))


def test_runs_differ_and_start_as_their_experiment_says(finished):
    starts = {}
    for run in RUNS:
        with safe_open(finished.path(f"results/{run}/embedding_evolution.safetensors"), framework="pt") as file:
            starts[run] = file.get_slice("embedding_history")[0:1][0]
    assert all((starts[run] == starts[run][0]).all() for run in RUNS if run.startswith("qwen"))
    assert not torch.equal(starts["qwen/run_001"], starts["qwen/run_002"])
    assert len(starts["normal/run_001"].unique(dim=0)) == V


def test_the_checkpoint_is_the_last_step(finished):
    folder = finished.path("results/qwen/run_001")
    assert json.loads((folder / "model/config.json").read_text())["model_type"] == "gpt2"
    with (
        safe_open(folder / "model/model.safetensors", framework="pt") as model,
        safe_open(folder / "embedding_evolution.safetensors", framework="pt") as history,
    ):
        last = history.get_slice("embedding_history")[S - 1 : S][0]
        assert torch.equal(model.get_tensor("transformer.wte.weight").to(BF16), last)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", COLUMNS)
def test_tables_of_a_run(finished, run, name):
    rows = table(finished, f"{run}/{name}", COLUMNS[name])
    steps = [int(row.get("step") or row.get("born") or row.get("escape_step")) for row in rows]
    if name == "escapes.csv":
        assert len(rows) == sum(row["status"] == "live" for row in table(finished, "corpus/builtin/tokens.csv"))
        never = str(S - 1)  # censored then
        seen = [min(int(row[key] or never) for key in ("first_input", "first_target")) for row in rows]
        together = run.startswith("qwen")  # nothing tells a token from the dead before training has seen it
        assert all(early <= step for early, step in zip(seen, steps, strict=True)) == together
    elif name == "training_log.csv":
        assert steps == list(range(1, S))
    else:
        assert steps == sorted(steps)
        assert {row.get("kind", "fusion") for row in rows} <= {
            "fission",
            "fusion",
            "evaporation",
            "capture",
            "formation",
            "dissolution",
        }


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_tables_over_the_runs(finished, experiment):
    rows = table(finished, f"{experiment}/summary.csv", ["step", "series", "mean", "std", "min", "max", "runs"])
    assert {int(row["step"]) for row in rows} == {0, 1, 2, 5, 10, 20, EXPERIMENTS[experiment]}
    assert {"black_holes.counts", "counts"} & {row["series"] for row in rows}
    table(finished, f"{experiment}/increases.csv", ["run", "step", "before", "after"])
    runs = [row["run"] for row in table(finished, f"{experiment}/lineages.csv")]
    assert runs == [f"run_{run + 1:03d}" for run in range(2 if experiment == "qwen" else 1)]
    statistics = {row["statistic"]: row for row in table(finished, f"{experiment}/escape_statistics.csv")}
    assert bool(statistics["log_hazard_per_tenfold_count"]["value"]) == (experiment == "qwen")


def table(checkout, name, columns=None):
    with open(checkout.path(f"results/{name}"), newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        assert columns in (None, rows.fieldnames)
        return list(rows)


def test_figures_are_pictures(finished):
    for name in finished.results():
        head = finished.path(f"results/{name}").read_bytes()[:200]
        assert not name.endswith(".png") or head.startswith(b"\x89PNG")
        assert not name.endswith(".svg") or b"<?xml" in head


def test_the_report_has_captions_and_categories(finished):
    page = finished.path("results/report.html").read_text(encoding="utf-8")
    for category in ("Corpus", "Training", "Black holes", "Graphs", "Geometry", "Tables", "Comparison", "Snowballs"):
        assert f'"{category}"' in page, category
    for name in [*FIGURES, *SNOWBALL_FIGURES, "hole_members", "lineage", "experiments", "distinct_vectors"]:
        assert f"{name}.png" in page, name
    assert "captions" in page or "caption" in page


def test_every_column_on_the_page_is_explained(finished):
    page = finished.path("results/index.html").read_text(encoding="utf-8")
    found = re.findall(r'data-file="([^"]*)".*? data-columns="([^"]*)".*? data-meanings="([^"]*)"', page)
    tables = {file: dict(zip(*(json.loads(unescape(text)) for text in texts), strict=True)) for file, *texts in found}
    assert len(tables) > 30
    without = {file: [name for name, said in columns.items() if not said] for file, columns in tables.items()}
    assert {file: names for file, names in without.items() if names} == {}
