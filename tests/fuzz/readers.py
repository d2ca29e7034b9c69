"""Readers of files that others may have made, each with good files to begin from.

A reader returns, or raises the project's own error; anything else is a fault.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from blackholes.artifacts import checkpoint_files, histories, records, tables
from blackholes.artifacts.safetensors_header import read_header
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.artifacts.whole import read_whole
from blackholes.checkpoints import token_texts
from blackholes.config import bounds, model
from blackholes.figures import data as figures
from blackholes.figures.runs import lineage_data
from blackholes.reproduction import checkpoint as published
from blackholes.runs import survival
from blackholes.snowballs import permutations, sweep
from blackholes.training import bpe, corpus, tokens
from blackholes.verify import contents
from snakemake.utils import update_config

ROOT = Path(__file__).parents[2]


@dataclass
class Reader:
    """What a fuzzer needs: the end of a file's name, good files, and a function that reads one."""

    kind: str
    good: Callable[[Path], list[bytes]]  # given a folder to make them in
    read: Callable[[Path], object]


def _made(write: Callable[[Path], object], name: str) -> Callable[[Path], list[bytes]]:
    def good(folder: Path) -> list[bytes]:
        write(folder / name)
        return [(folder / name).read_bytes()]

    return good


def _history(path: Path) -> None:
    values = torch.arange(3 * 5 * 4, dtype=torch.float32).bfloat16().view(3, 5, 4)
    with histories.history_writer(path, (3, 5, 4), {"rows": "of steps"}) as writer:
        writer.append(histories.KEY, values)


def _hdf5(path: Path) -> None:
    _history(path.with_suffix(".safetensors"))
    histories.write_hdf5(path.with_suffix(".safetensors"), path, torch.tensor([True, False, False, True, False]))


def _tensors(path: Path) -> None:
    counts = torch.arange(5)
    write_tensors(
        path,
        {
            "token_ids": counts.to(torch.uint8),
            "token_counts": counts,
            "dead_mask": counts > 3,
            "wte.weight": torch.ones(5, 3),
        },
        {"box": json.dumps({"lat": [1, 2]}), "note": "ü"},
    )


def _read_history(path: Path) -> None:
    with histories.open_history(str(path)) as history:
        for _ in history.chunks(2):
            pass


def _read_tensors(path: Path) -> None:
    with open_tensors(path) as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            file.rows(key, 0, 1)


def _checkpoint(path: Path) -> object:
    place = checkpoint_files.locate(path)
    return checkpoint_files.content(place)


def _index(path: Path) -> None:
    folder = path.parent / "checkpoint"
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "model-00001-of-00001.safetensors", {"model.embed_tokens.weight": torch.ones(6, 4)})
    index = folder / "model.safetensors.index.json"
    index.write_bytes(path.read_bytes())
    checkpoint_files.shards(index)
    checkpoint_files.locate(folder)


INDEX = {
    "metadata": {"total_size": 96},
    "weight_map": {"model.embed_tokens.weight": "model-00001-of-00001.safetensors"},
}


def _tokenizer(path: Path) -> None:
    path.write_text(bpe.learn("the quick brown fox jumps over the lazy dog. " * 40, 280, "a text"))


def _config(path: Path) -> None:
    import yaml

    bounds.check_file(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        overlay = yaml.load(path.read_bytes().decode(), Loader=loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):  # Snakemake's own reading, which is not ours
        return
    whole = yaml.load((ROOT / "config/config.yaml").read_bytes(), Loader=loader)
    update_config(whole, overlay if isinstance(overlay, dict) else {})  # as Snakemake merges them
    model.load(whole)


def _corpus(path: Path) -> None:
    for encoding in ("utf-8", "utf-16", "cp1252"):
        settings = {"source": "file", "path": str(path), "encoding": encoding}
        corpus.encode(corpus.clean(corpus.read(settings).text).text)


def _flows(path: Path) -> None:
    events = path.with_name("lineage_events.csv")
    events.write_text("kind,parents,children,flicker\nformation,,1,1\n")
    lineage_data.read(path, events, 9)


def _events(path: Path) -> None:
    graph = path.with_name("lineage.graphml")
    graph.write_bytes(GRAPH)
    lineage_data.read(graph, path, 9)


GRAPH = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    b'<key id="n0" for="node" attr.name="hole" attr.type="int"/>'
    b'<key id="n1" for="node" attr.name="first_step" attr.type="int"/>'
    b'<key id="n2" for="node" attr.name="last_step" attr.type="int"/>'
    b'<key id="n3" for="node" attr.name="populations" attr.type="string"/>'
    b'<key id="e0" for="edge" attr.name="step" attr.type="int"/>'
    b'<key id="e1" for="edge" attr.name="tokens" attr.type="int"/>'
    b'<key id="e2" for="edge" attr.name="flicker" attr.type="boolean"/>\n<graph edgedefault="directed">'
    b'<node id="0"><data key="n0">1</data><data key="n1">0</data><data key="n2">0</data>'
    b'<data key="n3">0:5</data></node>'
    b'<node id="1"><data key="n0">2</data><data key="n1">1</data><data key="n2">3</data>'
    b'<data key="n3">1:3 2:2</data></node>'
    b'<edge source="0" target="1"><data key="e0">1</data><data key="e1">3</data><data key="e2">false</data></edge>'
    b"</graph></graphml>\n"
)


def _contents(path: Path) -> None:
    contents.problem(path, {})


def _text(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [text.encode() for text in texts]


def _configs(folder: Path) -> list[bytes]:
    files = [*(ROOT / "config").glob("*.yaml"), ROOT / "tests/e2e/tiny.yaml"]
    return [path.read_bytes() for path in sorted(files)]


def _census(path: Path) -> None:
    published._census(str(path))


LOG = "step,loss,grad_norm,learning_rate\n1,4.85,1.5,0.001\n2,4.5,1.25,0.0009\n"
TOKENS = 'token_id,character,count,status\n0,a,5,live\n1,b,0,dead\n2,",",1,live\n'
HOLES = "hole,population,token_ids,text,norm\n1,2,3 4,x y,0.5\n2,3,5 6 7,a b c,0.25\n"
STATISTICS = "statistic,value\nthreshold,0.5\nmean,\n"
ESCAPES = "token_id,text,count,escape_step,censored,first_input,first_target\n1,a,5,10,0,1,\n2,b,3,30,1,,7\n"
SWEEP = ",".join(sweep.one_sigma.COLUMNS) + "\n" + ",".join(["1"] * len(sweep.one_sigma.COLUMNS)) + "\n"
PERMUTED = ",".join(permutations.COLUMNS) + "\n" + ",".join(["1"] * len(permutations.COLUMNS)) + "\n"
EVENTS = "kind,parents,children,flicker\nformation,,1,1\nfission,1,1 2,0\ndissolution,2,,1\n"
RECORD = {"job": "train", "token": "a", "digest": "b" * 32, "bytes": 5, "record": "logs/train/x.json"}
CENSUS = {**dict.fromkeys(published.MATRIX, 5), "populations": [5, 3], "holes": 2}
STEPS = "step,tokens,number,min,mean,max\n1,dead,4,0.5,1,2\n"

READERS: dict[str, Reader] = {
    "history": Reader("safetensors", _made(_history, "h.safetensors"), _read_history),
    "hdf5": Reader("h5", _made(_hdf5, "h.h5"), _read_history),
    "header": Reader("safetensors", _made(_tensors, "t.safetensors"), read_header),
    "tensors": Reader("safetensors", _made(_tensors, "t.safetensors"), _read_tensors),
    "whole": Reader("safetensors", _made(_tensors, "t.safetensors"), read_whole),
    "tokens": Reader("safetensors", _made(_tensors, "t.safetensors"), lambda path: tokens.load(str(path))),
    "plotted": Reader("safetensors", _made(_tensors, "t.safetensors"), figures.read_tensors),
    "box": Reader("safetensors", _made(_tensors, "t.safetensors"), lambda path: published._box(str(path))),
    "checkpoint": Reader("safetensors", _made(_tensors, "t.safetensors"), _checkpoint),
    "index": Reader("index.json", _text(json.dumps(INDEX)), _index),
    "tokenizer": Reader("json", _made(_tokenizer, "tokenizer.json"), lambda path: token_texts.explain(path, 300)),
    "log": Reader("csv", _text(LOG), tables.read_training_log),
    "token_table": Reader("csv", _text(TOKENS), tables.read_tokens),
    "holes": Reader("csv", _text(HOLES), lambda path: tables.read_holes(path, 50)),
    "statistics": Reader("csv", _text(STATISTICS), tables.read_statistics),
    "escapes": Reader("csv", _text(ESCAPES), lambda path: survival.read([str(path)])),
    "sweep": Reader("csv", _text(SWEEP), lambda path: sweep._read(str(path))),
    "permuted": Reader("csv", _text(PERMUTED), lambda path: permutations._read(str(path))),
    "plotted_table": Reader("csv", _text(STEPS), lambda path: figures.read_table(path, ["step", "min"])),
    "plotted_tokens": Reader("csv", _text(TOKENS), figures.read_tokens),
    "lineage": Reader("graphml", lambda folder: [GRAPH], _flows),
    "lineage_events": Reader("csv", _text(EVENTS), _events),
    "record": Reader("json", _text(json.dumps(RECORD, indent=2)), records.read_json),
    "census": Reader("json", _text(json.dumps(CENSUS)), _census),
    "config": Reader("yaml", _configs, _config),
    "corpus": Reader("txt", _text("*** START OF THE PROJECT GUTENBERG EBOOK ***\ncafé, it’s\r\n*** END OF"), _corpus),
    "verify_safetensors": Reader("safetensors", _made(_tensors, "t.safetensors"), _contents),
    "verify_csv": Reader("csv", _text(LOG, TOKENS), _contents),
    "verify_json": Reader("json", _text(json.dumps(CENSUS)), _contents),
    "verify_svg": Reader("svg", lambda folder: [GRAPH.replace(b"graphml", b"svg")], _contents),
    "verify_png": Reader("png", lambda folder: [(ROOT / "docs/lattice_phases.png").read_bytes()], _contents),
    "verify_hdf5": Reader("h5", _made(_hdf5, "h.h5"), _contents),
}
