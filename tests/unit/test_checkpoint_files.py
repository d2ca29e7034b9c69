"""Which tensor of which file is the embedding: folders, files, indices, names, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from blackholes.artifacts import checkpoint_files as files
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from planted import NAME, append_hole, write_sharded
from safetensors import safe_open

E = torch.arange(40, dtype=torch.float32).view(10, 4).bfloat16()
NAMES = {  # what stores it → (names, the one that is taken)
    "GPT-2": (["wte.weight", "wpe.weight", "h.0.attn.bias"], "wte.weight"),
    "GPT2LMHeadModel": (
        ["transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"],
        "transformer.wte.weight",
    ),
    "Llama": (["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"], "model.embed_tokens.weight"),
    "Qwen, multimodal": (
        ["model.language_model.embed_tokens.weight", "model.visual.patch_embed.proj.weight"],
        "model.language_model.embed_tokens.weight",
    ),
    "Llava": (["language_model.model.embed_tokens.weight"], "language_model.model.embed_tokens.weight"),
    "BERT": (
        [f"bert.embeddings.{kind}_embeddings.weight" for kind in ("position", "token_type", "word")],
        "bert.embeddings.word_embeddings.weight",
    ),
    "RoBERTa": (["roberta.embeddings.word_embeddings.weight"], "roberta.embeddings.word_embeddings.weight"),
    "sentence transformers": (["embeddings.word_embeddings.weight"], "embeddings.word_embeddings.weight"),
    "NeoX": (["gpt_neox.embed_in.weight", "embed_out.weight"], "gpt_neox.embed_in.weight"),
    "T5": (["shared.weight", "encoder.block.0.weight"], "shared.weight"),
    "output alone": (["x.weight", "lm_head.weight"], "lm_head.weight"),
    "a static embedding": (["a.embedding.weight", "embedding.weight", "norm.weight"], "embedding.weight"),
    "model2vec": (["embeddings", "weights"], "embeddings"),
}


def write(path, **tensors):
    write_tensors(path, tensors)
    return path


def read(place):
    with safe_open(place.file, framework="pt") as file:
        return file.get_tensor(place.tensor)


@pytest.mark.parametrize("kind", NAMES)
def test_usual_names(tmp_path, kind):
    names, taken = NAMES[kind]
    file = write(tmp_path / "model.safetensors", **{name: E + i for i, name in enumerate(names)})
    place = files.locate(file)
    assert place.tensor == taken
    assert torch.equal(read(place), E + names.index(taken))


def test_a_folder_a_file_and_an_index_are_one_checkpoint(tmp_path):
    folder = write_sharded(tmp_path / "sharded", E)
    shard = folder / "model-00002-of-00003.safetensors"
    for path in (folder, folder / files.INDEX, str(folder), shard):
        place = files.locate(path)
        assert (place.tensor, place.file, place.dtype, place.shape) == (NAME, shard, "BF16", (10, 4))
        assert torch.equal(read(place), E)
    (folder / files.INDEX).unlink()  # shards without an index
    assert files.locate(folder) == place


def test_offsets_point_to_the_tensors_bytes(tmp_path):
    place = files.locate(write_sharded(tmp_path / "sharded", E))
    data = place.file.read_bytes()[place.start : place.stop]
    assert torch.equal(torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(10, 4), E)


def test_other_shards_need_not_be_there(tmp_path):
    folder = write_sharded(tmp_path / "sharded", E)
    (folder / "model-00001-of-00003.safetensors").unlink()
    (folder / "model-00003-of-00003.safetensors").write_bytes(b"broken")
    assert files.locate(folder).tensor == NAME


def test_a_tensor_by_its_name(tmp_path):
    file = write(tmp_path / "model.safetensors", **{"wte.weight": E, "other": E + 1})
    assert torch.equal(read(files.locate(file, "other")), E + 1)


def test_tied_names_with_equal_content_are_one(tmp_path):
    names = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "shared.weight"]
    file = write(tmp_path / "a.safetensors", **dict.fromkeys(names, E))
    assert files.locate(file).tensor == "decoder.embed_tokens.weight"  # by the order of the ends, then of the alphabet


def test_only_headers_are_read_whatever_the_size_of_the_rest(tmp_path):
    file = write(tmp_path / "model.safetensors", **{"model.embed_tokens.weight": E})
    append_hole(file, 80 * 10**9)
    assert files.content(files.locate(file)) == files.content(
        files.locate(write(tmp_path / "b.safetensors", **{"wte.weight": E}))
    )


def refusal(path, tensor="auto"):
    with pytest.raises(UserError) as caught:
        files.locate(path, tensor)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_tensor_lists_the_matrices_with_most_rows(tmp_path):
    tensors = {"small": E[:2], "large": E, "bias": E[0], "cube": E.view(2, 5, 4), "numbers": E.long()}
    file = write(tmp_path / "m.safetensors", **tensors)
    candidates = "set tensor to one of large BF16 (10, 4), small BF16 (2, 4)"
    assert refusal(file) == f"{file}: no tensor with a usual name; {candidates}"
    assert refusal(file, "wte.weight") == f"{file}: no tensor 'wte.weight'; {candidates}"
    assert refusal(write(tmp_path / "n.safetensors", bias=E[0])).endswith("and no matrix in BF16, F16 or F32")


def test_no_such_tensor_in_a_folder_with_shards_missing(tmp_path):
    folder = write_sharded(tmp_path / "sharded", E, name="strange")
    (folder / "model-00003-of-00003.safetensors").unlink()
    found = "strange BF16 (10, 4), model.layers.0.mlp.weight BF16 (8, 4), model.layers.1.mlp.weight BF16 (8, 4)"
    assert refusal(folder) == f"{folder}: no tensor with a usual name; set tensor to one of {found}"


def test_several_candidates_that_differ(tmp_path):
    names = ["talker.embed_tokens.weight", "thinker.embed_tokens.weight"]
    file = write(tmp_path / "m.safetensors", **{names[0]: E, names[1]: E + 1})
    listed = ", ".join(f"{name} BF16 (10, 4)" for name in names)
    assert refusal(file) == f"{file}: several tensors could be the embedding; set tensor to one of {listed}"
    assert "could be the embedding" in refusal(write(tmp_path / "n.safetensors", **{names[0]: E, names[1]: E[:9]}))


def test_a_shard_that_is_missing(tmp_path):
    folder = write_sharded(tmp_path / "sharded", E)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert refusal(folder) == f"{folder}/model-00002-of-00003.safetensors: no such file; is a shard missing?"


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_truncated_files(tmp_path, cut):
    file = write(tmp_path / "m.safetensors", **{"wte.weight": E})
    file.write_bytes(file.read_bytes()[:cut])
    assert refusal(file) == f"{file}: not a complete safetensors file"


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04 a zip file, of pickles", b"\x02" + 7 * b"\0" + b"{}", b"\x02" + 7 * b"\0" + b"[]"]
)
def test_files_that_are_not_safetensors(tmp_path, data):
    (tmp_path / "m.bin").write_bytes(data)
    assert refusal(tmp_path / "m.bin") == f"{tmp_path}/m.bin: not a complete safetensors file"


def test_sizes_that_contradict_shapes(tmp_path):
    header = json.dumps({"wte.weight": {"dtype": "F32", "shape": [10, 4], "data_offsets": [0, 100]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(200))
    assert refusal(tmp_path / "m.safetensors").endswith("not a complete safetensors file")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (E.double(), "wte.weight F64 (10, 4)"),
        (E.to(torch.float8_e4m3fn), "wte.weight F8_E4M3 (10, 4)"),
        (E.int(), "wte.weight I32 (10, 4)"),
        (E[0], "wte.weight BF16 (4)"),
        (E.view(2, 5, 4), "wte.weight BF16 (2, 5, 4)"),
        (E[:0], "wte.weight BF16 (0, 4)"),
    ],
)
def test_tensors_that_are_not_embeddings(tmp_path, tensor, words):
    file = write(tmp_path / "m.safetensors", **{"wte.weight": tensor})
    assert refusal(file) == f"{file}: tensor {words}; expected (V, D) in BF16, F16, F32"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "not JSON"])
def test_files_that_are_not_indexes(tmp_path, text):
    (tmp_path / files.INDEX).write_text(text)
    words = "not a sharded index; expected JSON with a weight_map from tensors to files"
    assert refusal(tmp_path) == f"{tmp_path / files.INDEX}: {words}"


OUTSIDE = ["../secret.safetensors", "a/../../secret.safetensors", "/etc/passwd", "", "a\0b"]


@pytest.mark.parametrize("file", OUTSIDE)
def test_shards_stay_in_the_folder_of_their_index(tmp_path, file):
    folder = tmp_path / "model"
    write(tmp_path / "secret.safetensors", **{"wte.weight": E})
    folder.mkdir()
    (folder / "a").mkdir()
    (folder / files.INDEX).write_text(json.dumps({"weight_map": {"wte.weight": file}}))
    words = f"shard {file!r}; expected the name of a file in this folder"
    assert refusal(folder) == f"{folder / files.INDEX}: {words}"


def test_a_shard_may_lie_in_a_folder_inside_and_be_a_link(tmp_path):
    """As in the cache of the Hugging Face hub, where every file is a link to one with a digest for a name."""
    folder = tmp_path / "snapshots" / "main"
    (folder / "inner").mkdir(parents=True)
    write(tmp_path / "blob", **{"wte.weight": E})
    (folder / "inner" / "model.safetensors").symlink_to(tmp_path / "blob")
    (folder / files.INDEX).write_text(json.dumps({"weight_map": {"wte.weight": "inner/model.safetensors"}}))
    assert torch.equal(read(files.locate(folder)), E)


def test_a_shard_with_a_long_name(tmp_path):
    (tmp_path / files.INDEX).write_text(json.dumps({"weight_map": {"wte.weight": 300 * "a"}}))
    words = f"shard '{40 * 'a'}'…: a name of 300 characters; expected at most 255"
    assert refusal(tmp_path) == f"{tmp_path / files.INDEX}: {words}"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"weight_map": ' + '{"a":' * 100_000, "9" * 100_000, "\ufeff{}"])
def test_indexes_that_a_parser_stumbles_over(tmp_path, text):
    (tmp_path / files.INDEX).write_text(text)
    assert refusal(tmp_path).endswith("not a sharded index; expected JSON with a weight_map from tensors to files")


def test_an_index_is_a_regular_file_of_some_size(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"a\.json: is no regular file but a FIFO"):
        files.shards(tmp_path / "a.json")
    with open(tmp_path / "b.json", "wb") as large:  # takes no room on the disk
        large.truncate(3 * 2**30)
    with pytest.raises(UserError, match=r"b\.json: is 3,072 MiB; expected at most 64 MiB"):
        files.shards(tmp_path / "b.json")


def test_missing_path(tmp_path):
    assert refusal(tmp_path / "x") == f"{tmp_path}/x: no such file or folder"
    words = f"{tmp_path}: no model.safetensors, model.safetensors.index.json or other safetensors file in this folder"
    assert refusal(tmp_path) == words


# --- digests


def test_content_is_dtype_shape_and_bytes(tmp_path):
    def content(name, tensor, **more):
        return files.content(files.locate(write(tmp_path / name, **{"wte.weight": tensor}, **more)))

    first = content("a.safetensors", E)
    assert content("b.safetensors", E, other=E) == first
    changed = E.clone()
    changed[9, 3] += 1
    different = {first, *(content("c.safetensors", e) for e in (changed, E.view(20, 2), E.half(), E[:9]))}
    assert len(different) == 5


def test_digests_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    known = tmp_path / "known" / "digests.json"
    place = files.locate(write(tmp_path / "m.safetensors", **{"wte.weight": E}))
    first = files.content(place, known)
    monkeypatch.setattr(files, "_sha256", lambda place: pytest.fail("read again"))
    assert files.content(place, known) == first
    monkeypatch.undo()
    write(tmp_path / "m.safetensors", **{"wte.weight": E + 1})
    os.utime(place.file, ns=(1, 1))
    assert files.content(place, known) not in (first, None)
    known.write_text("broken")
    assert files.content(place, known) == files.content(place)


def test_a_tokenizer_lies_beside_the_weights(tmp_path):
    folder = write_sharded(tmp_path / "sharded", E)
    assert files.tokenizer_beside(folder) is None
    (folder / "tokenizer.json").write_text("{}")
    for path in (folder, folder / files.INDEX, folder / "model-00001-of-00003.safetensors"):
        assert files.tokenizer_beside(path) == folder / "tokenizer.json"


def test_checkpoint_files_import_no_torch():
    code = "import sys, blackholes.artifacts.checkpoint_files; print('torch' in sys.modules)"
    where = Path(files.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
