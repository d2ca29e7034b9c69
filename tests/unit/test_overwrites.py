"""Finished runs of other settings: found by what their files say, never replaced unasked, never counted as current."""

import json
from types import SimpleNamespace

import pytest
import torch
from blackholes import show
from blackholes.artifacts.records import Records, write_json
from blackholes.artifacts.tensors import write_tensors
from blackholes.config import compare
from blackholes.config import model as config
from blackholes.orchestration import overwrites
from blackholes.verify import plan
from blackholes.verify.run import run as verify
from snakemake.exceptions import WorkflowError

TENSORS = {  # what files of these names have to have
    compare.HISTORY: {"embedding_history": torch.zeros(2, 3, 1, dtype=torch.bfloat16)},
    compare.TOKENS: {
        "token_ids": torch.zeros(1, dtype=torch.uint8),
        "token_counts": torch.zeros(3, dtype=torch.int64),
        "dead_mask": torch.zeros(3, dtype=torch.bool),
    },
}


def finished(root, loaded):
    """A folder in which every run of a configuration has finished, as far as its files say so of themselves."""
    records = Records(root)
    for name, corpus in loaded.corpora().items():
        settings = {"corpus": corpus.model_dump(mode="json"), "text": [None, None]}
        write(root / "corpus" / name / compare.TOKENS, settings, records, "prepare_corpus", {})
    for name, it in loaded.experiments.items():
        tokens = f"corpus/{it.corpus.folder}/{compare.TOKENS}"
        for run in it.run_names():
            write(
                root / name / run / compare.HISTORY,
                {"settings": it.shared_settings()},
                records,
                f"train {name}/{run}",
                {tokens: records.digest(root / tokens)},
            )
    return root


def write(path, params, records, job, inputs):
    path.parent.mkdir(parents=True, exist_ok=True)
    records.claim([str(path)], job)
    write_tensors(path, TENSORS[path.name], {"config": json.dumps(params)})
    record = records.root / "logs" / f"{job.replace('/', '_')}.json"
    write_json(record, {"inputs": inputs, "config_digest": "x"})
    records.complete([str(path)], job, record)


def load(**overlay):
    overlay.setdefault("experiments", {"qwen": {"runs": 3}, "normal": {"init": "normal", "runs": 1}})
    return config.load({"lattice": {}, **overlay})


@pytest.fixture
def root(tmp_path):
    return finished(tmp_path / "results", load())


def test_the_same_settings(root):
    assert compare.other_runs(load(), root) == {}
    more = {"qwen": {"runs": 5}, "normal": {"init": "normal", "runs": 1}}
    assert compare.other_runs(load(experiments=more, figures={"dpi": 60}), root) == {}


@pytest.mark.parametrize(
    ("overlay", "lines"),
    [
        ({"experiment_defaults": {"steps": 7}}, ["steps: 10000 → 7"]),
        ({"experiment_defaults": {"init": {"unit_norm": True}}}, ["init.unit_norm: false → true"]),
        ({"experiment_defaults": {"schedule_steps": 20000}}, ["schedule_steps: null → 20000"]),
        ({"training": {"engine": "torch"}}, ["engine: auto → torch"]),
        ({"corpus": {"training_part": 0.5}}, ["corpus.training_part: 1.0 → 0.5"]),
        ({"corpus": {"source": "file", "path": "my.txt"}}, ["corpus.name: builtin → my"]),
    ],
)
def test_a_key_and_its_old_and_new_value(root, overlay, lines):
    found = compare.other_runs(load(**overlay), root)
    assert {name for name in found if name.startswith("qwen")} == {f"qwen/run_00{run}" for run in (1, 2, 3)}
    assert found["qwen/run_002"] == lines


def test_a_key_that_the_code_of_then_did_not_have_counts_as_its_default(root):
    path = root / "qwen/run_001" / compare.HISTORY
    settings = load().experiments["qwen"].shared_settings()
    del settings["compensation"], settings["rounding"]["state"]
    settings["a key that is gone"] = 1
    write(path, {"settings": settings}, Records(root), "train qwen/run_001", {})
    assert compare.run_differences(load(), root, "qwen", "run_001") == []
    changed = load(experiment_defaults={"compensation": "kahan"})
    assert compare.run_differences(changed, root, "qwen", "run_001") == ["compensation: none → kahan"]


def test_the_same_text_in_another_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("the same", encoding="utf-8")
    old, new = ({"source": "file", "name": "text", "path": str(tmp_path / f"{n}.txt")} for n in "ab")
    root = finished(tmp_path / "results", load(corpus=old))
    tokens = root / "corpus/text" / compare.TOKENS
    digests = [compare.file_digest(tmp_path / "a.txt"), None]
    params = {"corpus": load(corpus=old).corpora()["text"].model_dump(mode="json"), "text": digests}
    write(tokens, params, Records(root), "prepare_corpus", {})
    assert compare.corpus_differences(load(corpus=new), root, "text") == []
    (tmp_path / "b.txt").write_text("another", encoding="utf-8")
    lines = compare.corpus_differences(load(corpus=new), root, "text")
    assert [line.partition(":")[0] for line in lines] == ["path"]


def test_what_says_nothing_of_itself_is_no_other(root):
    path = root / "qwen/run_001" / compare.HISTORY
    for content in (b"", b"x" * 100):
        path.write_bytes(content)
        assert compare.run_differences(load(experiment_defaults={"steps": 7}), root, "qwen", "run_001") == []
    assert compare.run_differences(load(), root, "qwen", "run_009") == []


def jobs(root, *files, rule="train", **wildcards):
    rule = SimpleNamespace(name=rule)
    return SimpleNamespace(rule=rule, wildcards_dict=wildcards, output=[str(root / file) for file in files])


def call(root, *needed):
    return SimpleNamespace(dag=SimpleNamespace(needrun_jobs=lambda exclude_finished: needed))


def histories(*runs):
    return [f"{run}/{compare.HISTORY}" for run in runs]


def test_a_call_that_would_replace_runs_is_refused(root):
    trained = jobs(root, *histories("qwen/run_001", "qwen/run_002", "normal/run_001"))
    for settings in ({}, {"experiment_defaults": {"steps": 7}, "overwrite": True}):
        overwrites.refuse(call(root, trained), load(results=str(root), **settings))  # of the code, or asked for
    changed = load(results=str(root), experiment_defaults={"steps": 7})
    overwrites.refuse(call(root, jobs(root, *histories("qwen/run_004"))), changed)  # one more
    with pytest.raises(WorkflowError) as caught:
        overwrites.refuse(call(root, trained), changed)
    assert str(caught.value).splitlines() == [
        f"{root}: finished results of other settings would be replaced:",
        "  normal/run_001: steps: 10000 → 7",
        "  qwen/run_001 to run_002 (2 runs): steps: 10000 → 7",
        "Keep them: another folder for the new ones, `results: …` in your overlay or --config results=results/other.",
        "Or replace them: --config overwrite=true.",
    ]


def test_a_corpus_that_alone_is_made_anew(root):
    prepared = jobs(root, f"corpus/builtin/{compare.TOKENS}", rule="prepare_corpus", corpus="builtin")
    changed = load(results=str(root), corpus={"training_part": 0.5})
    assert overwrites.replaced(call(root, prepared).dag, changed) == {"corpus/builtin": ["training_part: 1.0 → 0.5"]}
    assert overwrites.replaced(call(root, prepared).dag, load(results=str(root))) == {}


def test_the_table_leaves_out_what_is_of_another_configuration(root):
    for name in ("qwen", "normal", "old"):
        (root / name).mkdir(exist_ok=True)
        (root / name / "summary.csv").write_text("step,series,runs,mean,std\n0,counts,1,1,0\n", encoding="utf-8")
        (root / name / "increases.csv").write_text("run,step\n", encoding="utf-8")
    (root / "checkpoints/trained").mkdir(parents=True)
    (root / "checkpoints/trained/census.json").write_text('{"tokens": 9, "holes": 0, "populations": []}')
    assert show.table(root).count("means over") == 3
    current = show.table(root, load())
    assert "normal: means" in current
    assert "checkpoint trained" in current
    changed = load(experiments={"qwen": {"runs": 2, "steps": 7}, "normal": {"init": "normal", "runs": 1}})
    said = show.table(root, changed)
    assert "qwen: means" not in said
    assert "checkpoint trained" not in said
    assert "normal: means" in said
    assert said.splitlines()[-1] == "of another configuration: qwen/run_001 to run_003 (3 runs): steps: 10000 → 7"
    gone = show.table(root, load(experiments={"normal": {"init": "normal", "runs": 1}}))
    why = "no such experiment in this configuration"
    assert gone.splitlines()[-1] == f"of another configuration: qwen/run_001 to run_003 (3 runs): {why}"


def test_verify_names_what_is_of_another_configuration(root, monkeypatch):
    overlay = root.parent / "my.yaml"
    overlay.write_text("experiments: {qwen: {runs: 3, steps: 7}, normal: {runs: 1}}\n", encoding="utf-8")
    files = {str(root / file): "params changed" for file in histories("qwen/run_001", "normal/run_001")}
    monkeypatch.setattr(plan, "ask", lambda *_: plan.Plan(files))
    said = []
    found = {one.file: one for one in verify(root, ["--configfile", str(overlay)], said.append)}
    why = "of another configuration: steps: 10000 → 7"
    for file, state in (("qwen/run_001", "stale"), ("qwen/run_002", "orphaned")):
        one = found[f"{file}/{compare.HISTORY}"]
        assert (one.state, one.why) == (state, why)
    assert found[f"normal/run_001/{compare.HISTORY}"].why == "params changed"
    assert f"of another configuration: {root / 'qwen/run_001 to run_003 (3 runs)'}: steps: 10000 → 7" in said
