"""What reruns after a change, and what does not: digests decide, not the times of files."""

import shutil

from e2e.checkout import Checkout

NOTHING = "Nothing to be done"
GRAPHS_ON = {"run_graphs", "summarise", "figure_cluster_dynamics", "figure_component_sizes", "figure_experiments"}


def test_a_second_call_does_nothing(finished):
    assert NOTHING in finished.run().said


def test_a_touch_of_everything_reruns_nothing(clone):
    for path in clone.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert NOTHING in clone.plan().said


def test_a_fresh_clone_over_the_same_results_reruns_nothing(finished, tmp_path):
    other = Checkout.fresh(tmp_path / "other")
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.path(name), other.path(name))
    assert NOTHING in other.plan().said


def test_an_edited_kernel_reruns_the_stages_that_use_it(clone):
    clone.edit("workflow/scripts/blackholes/kernels/neighbours.py", "EDITED = 1")
    jobs = clone.plan().jobs
    assert set(jobs) == {*GRAPHS_ON, "write_report"}
    assert len(jobs["run_graphs"]) == 4


def test_an_edited_script_reruns_its_rule(clone):
    clone.edit("workflow/scripts/graphs.py", "EDITED = 1")
    assert set(clone.plan().jobs) == {*GRAPHS_ON, "write_report"}


def test_an_edited_figure_reruns_this_figure_and_the_report(clone):
    clone.edit("workflow/scripts/blackholes/figures/centroid.py", "EDITED = 1")
    assert set(clone.plan().jobs) == {"figure_centroid", "write_report"}


def test_a_setting_of_one_experiment_reruns_its_chain_alone(clone):
    write(clone, "experiments: {normal: {learning_rate: 0.002}}")
    made = clone.plan(overlay="overlay.yaml").files
    assert not [file for file in made if file.startswith(("results/qwen/", "results/corpus/"))]
    assert set(made) > {"results/figures/experiments.png", "results/report.html", "results/normal/summary.csv"}
    assert [file for file in made if "embedding_evolution" in file] == [
        "results/normal/run_001/embedding_evolution.safetensors"
    ]


def test_one_more_run_makes_that_run_and_what_is_over_the_runs(clone):
    write(clone, "experiments: {normal: {runs: 2}}")
    made = clone.plan(overlay="overlay.yaml").files
    assert "results/normal/run_002/embedding_evolution.safetensors" in made
    assert "results/normal/summary.csv" in made
    assert "results/normal/figures/loss_curves.png" in made
    assert not [file for file in made if file.startswith(("results/qwen/", "results/normal/run_001/"))]


def test_what_was_remade_in_an_earlier_call_still_counts(clone):
    """Only `train` is asked for first. A later call has to know that all after it is of the old training."""
    write(clone, "experiments: {normal: {learning_rate: 0.002}}")
    assert set(clone.run("train", overlay="overlay.yaml").jobs) == {"train_run"}
    made = clone.plan(overlay="overlay.yaml").files
    for name in ("pairwise_distances", "black_hole_counts", "graph_statistics", "geometric_time_series"):
        assert f"results/normal/run_001/{name}.safetensors" in made
    assert "results/report.html" in made
    assert not [file for file in made if "embedding_evolution" in file or file.startswith("results/qwen/")]


def test_a_corpus_of_one_experiment_reruns_its_chain_alone(clone):
    write(clone, "experiments: {thimble: {corpus: {training_part: 0.06}}}")
    made = clone.plan(overlay="overlay.yaml").files
    assert not [
        file for file in made if file.startswith(("results/qwen/", "results/normal/", "results/corpus/builtin/"))
    ]
    for name in ("thimble/run_001/embedding_evolution.h5", "thimble/summary.csv", "corpus/builtin-bpe1200/tokens.csv"):
        assert f"results/{name}" in made


def write(checkout, text):
    checkout.path("overlay.yaml").write_text(text + "\n")
