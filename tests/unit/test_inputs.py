"""Texts and checkpoints with which no job could succeed are refused while the configuration is read."""

import json

import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.config import model as config
from blackholes.errors import UserError
from blackholes.orchestration import inputs

TEXTS = {  # experiment → the bytes of its text, None: no such file
    "good": b"to be or not to be, that is the question",
    "missing": None,
    "nothing": b"",
    "latin": b"caf\xe9 au lait",
    "few": b"some words " * 1000,
    "short": b"123456789",
    "batch": b"just long enough: 1",
}
EXPERIMENTS = {
    name: {"corpus": {"source": "file", "path": f"{name}.txt"}, "model": {"context": 16}, "batch_size": 4}
    for name in TEXTS
}
EXPERIMENTS["few"]["corpus"] |= {"vocabulary": "bpe", "vocabulary_size": 1200}


def load(*names, **overlay):
    experiments = {name: EXPERIMENTS[name] for name in names}
    return config.load({"experiments": experiments, "checkpoints": {}, "snowballs": {}, "lattice": {}, **overlay})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the texts, to work in."""
    monkeypatch.chdir(tmp_path)
    for name, content in TEXTS.items():
        if content is not None:
            (tmp_path / f"{name}.txt").write_bytes(content)
    return tmp_path


def test_every_text_that_is_wrong_has_its_line(folder, monkeypatch):
    with pytest.raises(UserError) as caught:
        inputs.refuse(load(*TEXTS))
    assert str(caught.value).splitlines() == [
        f"missing.txt: no such file (corpus.path, from {folder})",
        "nothing.txt: is empty; expected text",
        "latin.txt: corpus.encoding: byte 0xe9 at position 3 is not utf-8",
        "few.txt: gives 265 tokens at most, expected corpus.vocabulary_size (1,200) or more",
        "experiments.short.model.context: 16 is not allowed; expected at most 8, since the corpus short has 9 tokens",
        "experiments.batch.batch_size: 4 is not allowed; expected at most 3, since the corpus batch has 19 tokens",
    ]
    # a good text is known from then on, by its bytes
    known = json.loads(inputs.KNOWN.read_text(encoding="utf-8"))
    text = TEXTS["good"].decode()
    good = {"tokens": len(text), "size": 128, "dead": 128 - len(set(text))}
    assert good in known.values()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("asked again"))
    assert inputs.survey(load("good")) == {"good": good}
    inputs.refuse(load("good"))


def test_another_text_is_looked_at_again(folder, monkeypatch):
    asked = []

    def ask(corpora):
        asked.append([corpus.name for corpus in corpora])
        return [{"tokens": 40, "size": 128, "dead": 100}] * len(corpora)

    monkeypatch.setattr(inputs, "ask", ask)
    for _ in range(2):
        inputs.survey(load("good", "short"))
    (folder / "good.txt").write_bytes(b"another")
    inputs.survey(load("good", "short"))
    assert [names for names in asked if names] == [["good", "short"], ["good"]]


def test_what_needs_a_network_or_is_known_to_suffice_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(inputs, "ask", lambda corpora: pytest.fail("asked") if corpora else [])
    inputs.refuse(config.load({"checkpoints": {}, "snowballs": {}}))  # the builtin text
    inputs.refuse(load("good", experiments={"a": {"corpus": {"source": "url", "url": "http://127.0.0.1:9/a.txt"}}}))


def test_a_large_text_is_left_to_its_job(folder, monkeypatch):
    monkeypatch.setattr(inputs, "LARGEST", 10)
    monkeypatch.setattr(inputs, "ask", lambda corpora: pytest.fail("asked") if corpora else [])
    assert inputs.survey(load("good")) == {}


def test_a_checkpoint_that_is_missing_or_has_no_embedding(folder):
    write_tensors(folder / "other.safetensors", {"bias": torch.zeros(3)})
    write_tensors(folder / "fine.safetensors", {"wte.weight": torch.zeros(3, 2)})
    entries = {name: {"path": f"{name}.safetensors"} for name in ("fine", "other", "none")}
    experiments = {"a": {"steps": 1}}
    with pytest.raises(UserError) as caught:
        inputs.refuse(load(experiments=experiments, checkpoints=entries))
    assert str(caught.value).splitlines() == [
        "checkpoints.other: other.safetensors: no tensor with a usual name; and no matrix in BF16, F16 or F32",
        "checkpoints.none: none.safetensors: no such file or folder",
    ]
    inputs.refuse(load(experiments=experiments, checkpoints={"fine": entries["fine"], "run": {}}))


def test_an_experiment_where_another_configuration_has_its_folder(folder):
    (folder / "results/a/logs/records").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        inputs.refuse(load(experiments={"a": {"steps": 1}}))
    line = "experiments.a: results/a has the results of another configuration; expected another name"
    assert str(caught.value) == line
