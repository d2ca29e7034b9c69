"""Files that once broke a reader, as `make fuzz` found them: each is read, or refused in one line."""

import json

import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from fuzz.readers import CENSUS, EVENTS, GRAPH, HOLES, READERS, RECORD

DEEP = b"[" * 100_000 + b"]" * 100_000
FAULTS = {  # what it is → (reader, the file's bytes)
    "a census in many lists": ("census", DEEP),
    "a census that is a list": ("census", b"[5]"),
    "populations that are no numbers": ("census", json.dumps(CENSUS | {"populations": 5}).encode()),
    "a record in many lists": ("record", json.dumps(RECORD).encode()[:-1] + b', "x": ' + DEEP + b"}"),
    "JSON in many lists": ("verify_json", DEEP),
    "a picture in an unknown encoding": ("verify_svg", b'<?xml version="1.0" encoding="UTF19"?><svg/>'),
    "a token beyond 64 bits": ("holes", HOLES.replace("3 4", "3 99999999999999999999").encode()),
    "a hole without tokens": ("holes", HOLES.replace("1,2,3 4", "1,0,").encode()),
    "a field beyond csv's limit": ("sweep", b"sigma," + b"1" * 200_000 + b"\n"),
    "two holes where one formed": ("lineage_events", EVENTS.replace("formation,,1", "formation,,1 2").encode()),
    "an event of no number": ("lineage_events", EVENTS.replace("formation,,1", "formation,,0x10").encode()),
    "a number of 5,000 digits": ("lineage_events", EVENTS.replace("formation,,1", "formation,," + "9" * 5000).encode()),
    "a graph without steps": ("lineage", GRAPH.replace(b"first_step", b"step")),
    "a population of nan": ("lineage", GRAPH.replace(b"0:5", b"0:nan")),
    "a graph of text for numbers": ("lineage", GRAPH.replace(b'attr.type="boolean"', b'attr.type="int"')),
    "no flow of whole numbers": ("lineage", GRAPH.replace(b'"hole" attr.type="int"', b'"hole" attr.type="list"')),
    "a graph in an unknown encoding": ("lineage", GRAPH.replace(b"UTF-8", b"UTF19")),
}


def test_an_id_for_which_the_tokenizers_library_would_take_gigabytes(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = json.loads(READERS["tokenizer"].good(tmp_path)[0])
    tokenizer["model"]["vocab"]["!"] = 2**31
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="a token has the id 2,147,483,648; expected 10,000,000 or less"):
        READERS["tokenizer"].read(path)


def test_a_tensor_file_whose_metadata_are_null(tmp_path):
    path, header = tmp_path / "case.safetensors", b'{"__metadata__":null}   '
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="damaged: its tensors are not those that were written"):
        READERS["whole"].read(path)


@pytest.mark.parametrize("text", ["{", "[1]", "5", "", DEEP.decode()], ids=["cut", "list", "number", "empty", "deep"])
def test_a_box_in_metadata_that_is_none(tmp_path, text):
    path = tmp_path / "sphere.safetensors"
    write_tensors(path, {"x": torch.ones(1)}, {"box": text})
    with pytest.raises(UserError, match="'box' in its metadata is no mapping"):
        READERS["box"].read(path)


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_broke_a_reader(tmp_path, name):
    reader, data = FAULTS[name]
    path = tmp_path / f"case.{READERS[reader].kind}"
    path.write_bytes(data)
    said = ""
    try:
        READERS[reader].read(path)
    except UserError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("name", [name for name in READERS if name != "config"])
def test_what_the_fuzzer_begins_with_is_read(tmp_path, name):
    for data in READERS[name].good(tmp_path):
        path = tmp_path / f"good.{READERS[name].kind}"
        path.write_bytes(data)
        READERS[name].read(path)
