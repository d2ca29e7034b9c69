"""`make text` and `make checkpoint`: what they ask Snakemake for, in which order, and what they say first."""

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from blackholes import own
from blackholes.artifacts.tensors import write_tensors
from blackholes.config import files
from blackholes.orchestration import inputs
from blackholes.plan import run as plan


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What is said and called in turn; no Snakemake starts. A checkpoint named `holes` has a hole."""
    monkeypatch.chdir(tmp_path)
    found = []

    def snakemake(command, **_):
        target, call = command[3], command[6:]
        found.append((target, files.load(call)))
        for name, entry in files.load(call).checkpoints.items():
            census = files.results_folder(call) / "checkpoints" / name / "census.json"
            census.parent.mkdir(parents=True, exist_ok=True)
            holes = [7] if "holes" in str(entry.path) else []
            census.write_text(json.dumps({"tokens": 9, "holes": len(holes), "populations": holes}))
        return SimpleNamespace(returncode=0)

    def planned(arguments):
        found.append(("plan", None))
        job = {"rule": "train", "wildcards": {"run": "001"}, "work": 1.0, "outputs": ["x"], "benchmark": ""}
        more = {"threads": 1, "after": [], "resources": {}, "missing": ["x"], "incomplete": [], "inputs": []}
        return [job | more | {"derived": False, "old": [], "new": []}], {}

    monkeypatch.setattr(subprocess, "run", snakemake)
    monkeypatch.setattr(plan, "ask", planned)
    monkeypatch.setattr(inputs, "ask", lambda corpora: [{"tokens": 30_000, "size": 128, "dead": 52} for _ in corpora])
    return found


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["own", *arguments])
    own.main()


def test_a_text(calls, tmp_path, monkeypatch, capsys):
    (tmp_path / "My Text.txt").write_text("some words")
    call(monkeypatch, "text", "My Text.txt", "--steps", "700", "--encoding", "cp1252", "--cores", "3")
    assert [target for target, _ in calls] == ["plan", "all"]
    config = calls[-1][1]
    assert (config.results, list(config.corpora())) == ("results/text/my-text", ["my-text"])
    assert (config.corpora()["my-text"].path, config.corpora()["my-text"].encoding) == ("My Text.txt", "cp1252")
    assert {name: it.steps for name, it in config.experiments.items()} == {"qwen": 700, "normal": 700}
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "corpus my-text: 30,000 tokens; 52 of the 128 kinds are dead"
    assert said[1].startswith("1 jobs: about ")
    assert said[1].find(" on 3 cores") > 0
    assert said[3].startswith("results in results/text/my-text; ")
    assert said[4] == "== running snakemake all --cores 3"


def test_a_text_of_another_name_has_another_folder(calls, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("some words")
        call(monkeypatch, "text", name)
    assert [config.results for _, config in calls if config] == ["results/text/a", "results/text/b"]
    assert {it.steps for it in calls[-1][1].experiments.values()} == {3000}


def model(folder, **tensors):
    folder.mkdir()
    write_tensors(folder / "model.safetensors", tensors or {"wte.weight": torch.zeros(3, 2)})


def test_a_checkpoint_without_a_hole(calls, tmp_path, monkeypatch, capsys):
    model(tmp_path / "Plain.v2")
    call(monkeypatch, "checkpoint", "Plain.v2")
    assert [target for target, _ in calls] == ["plan", "checkpoints", "all"]
    for _, config in calls[1:]:
        assert config.results == "results/checkpoint/plain-v2"
        assert {name: entry.path for name, entry in config.checkpoints.items()} == {"plain-v2": "Plain.v2"}
        assert config.checkpoints["plain-v2"].threshold == "auto"
        assert (config.experiments, config.snowballs, config.lattice) == ({}, {}, {})
    said = capsys.readouterr().out.splitlines()
    ran = said.index("== running snakemake checkpoints --cores 2")
    assert next(line for line in said[ran + 1 :] if line) == "plain-v2: 0 holes among 9 tokens"
    assert "checkpoint plain-v2: 0 holes among 9 tokens" in said


def test_a_checkpoint_with_a_hole_gets_snowballs(calls, tmp_path, monkeypatch, capsys):
    model(tmp_path / "holes")
    call(monkeypatch, "checkpoint", "holes")
    assert [list(config.snowballs) for _, config in calls if config] == [[], ["holes"]]
    assert calls[-1][1].snowballs["holes"].centroid == "holes"
    assert "1 hole of 7 among 9 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "name", "entry"),
    [
        ("owner/BERT-base", "bert-base", {"hub": "owner/BERT-base", "revision": "main"}),
        ("gpt2", "gpt2", {"hub": "gpt2", "revision": "main"}),
        ("owner/4x@v1.0", "model-4x", {"hub": "owner/4x", "revision": "v1.0"}),
    ],
)
def test_a_checkpoint_of_the_hub(calls, monkeypatch, given, name, entry):
    call(monkeypatch, "checkpoint", given)
    found = calls[-1][1].checkpoints[name]
    assert {"hub": found.hub, "revision": found.revision} == entry


def test_a_checkpoint_whose_tensor_is_named(calls, monkeypatch):
    call(monkeypatch, "checkpoint", "owner/name", "--tensor", "strange.weight")
    assert calls[-1][1].checkpoints["name"].tensor == "strange.weight"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("checkpoint", "no/such/folder"), "error: no/such/folder: no such file or folder, and no name of a model"),
        (("checkpoint", "empty"), "error: checkpoints.empty: empty: no model.safetensors, model.safetensors.index"),
        (("text", "x.txt", "--encoding", "klingon"), "error: encoding: 'klingon' is not allowed; expected an encoding"),
    ],
)
def test_what_is_refused_before_anything_runs(calls, tmp_path, monkeypatch, arguments, line):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *arguments)
    assert str(caught.value).startswith(line)
    assert calls == []


def test_a_snakemake_that_fails_ends_it(calls, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("some words")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, "text", "a.txt")
    assert caught.value.code == 3
