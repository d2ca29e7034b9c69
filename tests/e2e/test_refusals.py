"""What is wrong is refused early, in one clear line, and leaves nothing under a final name."""

import socket

import pytest

HISTORY = "results/normal/run_001/embedding_evolution.safetensors"


def refused(checkout, overlay, target="corpus"):
    """What Snakemake says about an overlay that it has to refuse."""
    checkout.path("overlay.yaml").write_text(overlay)
    return checkout.run(target, overlay="overlay.yaml", status=1).said


@pytest.mark.parametrize(
    ("overlay", "line"),
    [
        ("trainning: {device: cpu}", "configuration: trainning: unknown key"),
        ("experiments: {qwen: {steps: 0}}", "configuration: experiments.qwen.steps: 0 is not allowed"),
        ("experiment_defaults: {model: {width: 15}}", "configuration: experiment_defaults.model.width: 15"),
        ("figures: {run: 2}", "configuration: figures.run: 2 is not allowed; expected 1 to 1, the runs of normal"),
    ],
)
def test_configuration(fresh, overlay, line):
    said = refused(fresh, overlay)
    assert len([text for text in said.splitlines() if line in text]) == 1, said
    assert "Traceback" not in said
    assert not fresh.path("results").exists()


def test_a_plan_beside_other_targets_which_would_run(fresh):
    said = fresh.run("plan", "corpus", status=1).said
    assert "PYTHONPATH=workflow/scripts python -m blackholes.plan -- corpus" in said
    assert "Traceback" not in said
    assert not fresh.path("results/corpus").exists()


def bad_input(checkout, overlay, line, target="corpus", log="results/logs/prepare_corpus/text.log"):
    """One line, in the terminal and in the log, and no file."""
    said = refused(checkout, overlay, target)
    assert [text for text in said.splitlines() if line in text], said
    assert "Traceback" not in said
    assert line in checkout.path(log).read_text()
    return checkout.results("logs/", "benchmarks/")


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_an_address_that_cannot_be_reached(fresh):
    url = f"http://127.0.0.1:{closed_port()}/text.txt"
    assert bad_input(fresh, f"corpus: {{source: url, url: '{url}'}}", f"{url}: cannot be read") == []


def test_matrices_of_a_large_vocabulary(fresh):
    path = "results/thimble/run_001/pairwise_distances.safetensors"
    said = refused(fresh, "experiments: {thimble: {steps: 6000, corpus: {vocabulary_size: 2000}}}", path)
    reason = "6,001 matrices of 2,000 × 2,000 would take 96 GB, expected a vocabulary of at most 1,024 tokens"
    assert f"{path}: {reason}" in said
    assert "Traceback" not in said
    assert not fresh.path("results").exists()


def test_a_truncated_history_in_the_place_of_a_real_one(clone):
    history = clone.path(HISTORY)
    history.write_bytes(history.read_bytes()[:10_000])
    counts = clone.path("results/normal/run_001/black_hole_counts.safetensors")
    counts.unlink()
    said = clone.run("results/normal/run_001/black_hole_counts.safetensors", status=1).said
    line = f"{HISTORY}: not a complete safetensors file"
    assert line in said
    assert line in clone.path("results/logs/black_holes/normal_001.log").read_text()
    assert not counts.exists()
    assert not [name for name in clone.results() if name.endswith(".tmp")]
