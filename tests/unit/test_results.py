"""`blackholes.open`: what it gives is in the files; what is not there is refused with a line that says what is."""

import json
import subprocess
import sys

import blackholes
import numpy as np
import pytest
import torch
from blackholes.artifacts.provenance import file_digest
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from safetensors.torch import load_file

NAMES = ["NUL", "a", "NA", "b", "nan"]
HISTORY = torch.tensor([[[1.0, 2.0]] * 5, [[1.5, 0.1], [1.5, 0.1], [-3.0, 2**-130], [1.5, 0.1], [-3.0, 2**-130]]])


@pytest.fixture
def folder(tmp_path):
    """Results of one run of one step: five tokens, first one hole of all, then holes of three and two."""
    top = tmp_path / "results"
    for corpus, ids in {"other": [1, 1], "text": [1, 3, 3]}.items():
        path = top / "corpus" / corpus
        path.mkdir(parents=True)
        write_tensors(path / "tokens.safetensors", {"token_ids": torch.tensor(ids, dtype=torch.uint8)})
        counts = {"text": (0, 1, 0, 2, 0)}.get(corpus, (0, 2, 0, 0, 0))
        named = enumerate(zip(NAMES, counts, strict=True))
        rows = [f"{i},{name},{n},{'live' if n else 'dead'}" for i, (name, n) in named]
        (path / "tokens.csv").write_text("\n".join(["token_id,character,count,status", *rows, ""]), encoding="utf-8")
    run = top / "toy/run_001"
    run.mkdir(parents=True)
    facts = {
        "seed": "43",
        "config": json.dumps({"settings": {"steps": 1}}),
        "input_digests": json.dumps({"corpus": file_digest(top / "corpus/text/tokens.safetensors")}),
    }
    write_tensors(run / "embedding_evolution.safetensors", {"embedding_history": HISTORY.bfloat16()}, facts)
    labels = torch.tensor([[0] * 5, [0, 0, 2, 0, 2]], dtype=torch.int32)
    counts = torch.tensor([1, 2], dtype=torch.int32)
    write_tensors(run / "black_hole_counts.safetensors", {"labels": labels, "counts": counts})
    (run / "events.csv").write_text("step,kind,parents,children,tokens\n1,fission,0,0 2,0 1 2 3 4\n")
    (run / "escapes.csv").write_text("token_id,text,count,escape_step,censored\n1,NA,1,1,1\n3,7,2,1,0\n")
    (run / "training_log.csv").write_text("step,loss,grad_norm,learning_rate\n1,4.85,2.0,0.001\n")
    (top / "toy/run_010").mkdir()
    checkpoint = top / "checkpoints/trained"
    checkpoint.mkdir(parents=True)
    write_tensors(checkpoint / "W.safetensors", {"W": HISTORY[1].bfloat16()})
    (checkpoint / "census.json").write_text('{"holes": 2}')
    (checkpoint / "black_holes.csv").write_text(
        'hole,population,token_ids,text,norm\n0,3,0 1 3,"[""NUL"", ""a"", ""b""]",1.5\n2,2,2 4,,3\n'
    )
    (checkpoint / "tokens.csv").write_text("token_id,text,hole\n0,NA,0\n1,1,\n")
    return top


def test_names_of_the_tokens_of_each_hole(folder):
    run = blackholes.open(folder)["toy"][1]
    assert run.holes(step=0) == [(0, 5, (0, 1, 2, 3, 4), tuple(NAMES))]
    assert run.holes() == run.holes(1) == [(0, 3, (0, 1, 3), ("NUL", "a", "b")), (2, 2, (2, 4), ("NA", "nan"))]
    assert run.holes(-2) == run.holes(0)


def test_a_run_is_what_its_files_say(folder):
    results = blackholes.open(folder)
    run = results["toy"][1]
    assert (list(results), results["toy"].runs, run.number, run.seed) == (["toy"], [1, 10], 1, 43)
    assert run.settings == {"steps": 1}
    assert run.tokens["name"].tolist() == NAMES
    assert run.tokens["count"].tolist() == [0, 1, 0, 2, 0]
    assert run.tokens["dead"].tolist() == [True, False, True, False, True]
    assert run.events().iloc[0].tolist() == [1, "fission", (0,), (0, 2), (0, 1, 2, 3, 4)]
    assert run.escapes()["text"].to_dict() == {1: "NA", 3: "7"}
    assert run.escapes()["censored"].to_dict() == {1: True, 3: False}
    assert run.loss().to_dict() == {1: 4.85}
    assert run.counts()["counts"].to_dict() == {0: 1, 1: 2}


def test_a_history_is_read_row_by_row(folder):
    history = blackholes.open(folder)["toy"][1].history
    expected = load_file(history.path)["embedding_history"].float().numpy()
    assert (history.shape, len(history), history.dtype, history.stored) == ((2, 5, 2), 2, np.float32, "BF16")
    for index in (0, -1, slice(1, 2), (1, 3), (slice(None), 2, 1), [1, 0]):
        assert np.array_equal(history[index], expected[index]), index
    assert np.array_equal(history, expected)
    assert np.array_equal(list(history), expected)
    history[0][:] = 7  # an array of its own
    assert np.array_equal(history, expected)


def test_numbers_of_every_type(tmp_path):
    from blackholes.artifacts.arrays import arrays

    path = tmp_path / "a.safetensors"
    kinds = ("bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64", "bfloat16")
    write_tensors(path, {kind: torch.tensor([0, 1, 100]).to(getattr(torch, kind)) for kind in kinds} | {"one": 3.5})
    write_tensors(tmp_path / "empty.safetensors", {"none": torch.zeros(0, 4)})
    found = arrays(path)
    assert found["one"][()] == 3.5
    for kind in kinds:
        assert found[kind].dtype == np.dtype("float32" if kind == "bfloat16" else kind)
        assert found[kind][:].tolist() == [0, 1, 1 if kind == "bool" else 100], kind
    assert arrays(tmp_path / "empty.safetensors")["none"][:].shape == (0, 4)
    write_tensors(tmp_path / "f8.safetensors", {"x": torch.zeros(1, dtype=torch.float8_e5m2)})
    with pytest.raises(UserError, match="tensor 'x' is F8_E5M2, a type of number that is not read here"):
        arrays(tmp_path / "f8.safetensors")


def test_a_checkpoint(folder):
    checkpoint = blackholes.open(folder).checkpoints["trained"]
    assert checkpoint.holes() == [(0, 3, (0, 1, 3), ("NUL", "a", "b")), (2, 2, (2, 4), ("2", "4"))]
    assert checkpoint.census == {"holes": 2}
    assert checkpoint.tokens["text"].to_dict() == {0: "NA", 1: "1"}
    assert np.array_equal(checkpoint.embedding, HISTORY[1].bfloat16().float())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda results: blackholes.open(results.path / "toy"), "no results in this folder, such as qwen/run_001; it "),
        (lambda results: blackholes.open(results.path / "quick"), "no such folder; beside it there are checkpoints, "),
        (lambda results: results["qwen"], "no experiment 'qwen'; there are toy"),
        (lambda results: results["toy"][2], "no run 2; there are 1, 10"),
        (lambda results: results["toy"][1].holes(2), "no step 2; it has steps 0 to 1"),
        (lambda results: results["toy"][1].holes(-3), "no step -3; it has steps 0 to 1"),
        (lambda results: results["toy"][10].loss(), "training_log.csv: no such file; the folder has none yet"),
        (lambda results: results["toy"][1].lineage(), "lineage.csv: no such file; the folder has black_hole_counts."),
        (lambda results: results.checkpoints["qwen3"], "no checkpoint 'qwen3'; there are trained"),
        (lambda results: results.lattice["qwen"], "no entry 'qwen'; there are none"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(folder, ask, said):
    with pytest.raises(UserError) as caught:
        ask(blackholes.open(folder))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_its_corpus(folder):
    (folder / "corpus/text/tokens.safetensors").unlink()
    with pytest.raises(UserError, match="run_001: its corpus is not in these results; there are other"):
        blackholes.open(folder)["toy"][1].holes(0)


def test_the_package_is_light_until_it_is_used(folder):
    code = f"""
import sys
import blackholes
assert len([name for name in sys.modules if name.startswith("blackholes")]) == 1
assert not {{"numpy", "pandas", "torch"}} & set(sys.modules)
assert len(blackholes.open({str(folder)!r})["toy"][1].holes(step=1)) == 2
assert "torch" not in sys.modules
assert not hasattr(blackholes, "close")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
