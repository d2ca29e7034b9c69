"""Readers of tables: what is read, and that a bad table is named with its row and what was expected."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blackholes.artifacts import tables
from blackholes.errors import UserError

LOG = "step,loss,grad_norm,learning_rate\n"
HOLES = "hole,population,token_ids\n"


def refused(path, read, text, **options):
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_columns_by_name_whatever_their_order(tmp_path):
    (tmp_path / "t.csv").write_text('c,a,b\n1,2,x\n\n3,4,"y,z"\n')
    read = tables.read_columns(tmp_path / "t.csv", {"a": int, "b": str})
    assert read == {"a": [2, 4], "b": ["x", "y,z"]}
    assert tables.read_columns(tmp_path / "t.csv", {"c": float}, rows=1) == {"c": [1.0]}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "no such file"),
        ("", {}, "no column 'step'; expected columns step, loss, grad_norm, learning_rate"),
        ("step,loss\n1,2\n", {}, "no column 'grad_norm'; expected columns step, loss, grad_norm, learning_rate"),
        ("loss\n1\n", {"series": ["loss"]}, "no column 'step'; expected columns step, loss"),
        (LOG, {}, "no step 1 in row 1; expected a row for each of the steps 1 to 1"),
        (LOG + "1,2,3\n", {}, "row 1: no learning_rate; the row has only 3 fields"),
        (LOG + "1,2,3,4\ntwo,2,3,4\n", {}, "row 2: step is 'two'; expected a whole number"),
        (LOG + "1,2,much,4\n", {}, "row 1: grad_norm is 'much'; expected a number"),
        (LOG + "1,2,3,4\n", {"last": 3}, "no step 2 in row 2; expected a row for each of the steps 1 to 3"),
        (LOG + "1,1,1,1\n3,1,1,1\n", {}, "no step 2 in row 2; expected a row for each of the steps 1 to 2"),
        (b"\xff\xfe\x00", {}, "cannot be read: 'utf-8' codec"),
    ],
)
def test_training_logs_that_are_none(tmp_path, text, options, message):
    assert refused(tmp_path / "log.csv", tables.read_training_log, text, **options).startswith(message)


def test_a_training_log(tmp_path):
    rows = [(step, step / 3, 1e-300 * step, 0.1) for step in range(1, 8)]
    (tmp_path / "log.csv").write_text(LOG + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    found = tables.read_training_log(tmp_path / "log.csv")
    assert list(found) == ["step", *tables.LOG]
    assert list(zip(*(found[name].tolist() for name in found), strict=True)) == rows
    assert found["step"].dtype == np.int64
    short = tables.read_training_log(tmp_path / "log.csv", ["loss"], last=3)
    assert {name: values.tolist() for name, values in short.items()} == {"step": [1, 2, 3], "loss": [1 / 3, 2 / 3, 1.0]}
    assert len(tables.read_training_log(tmp_path / "log.csv", last=0)["loss"]) == 0


@pytest.mark.parametrize("name", ["character", "text"])
def test_tokens_of_a_corpus(tmp_path, name):
    (tmp_path / "tokens.csv").write_text(f'token_id,{name},count,status\n2,NA,0,dead\n0,",",5,live\n1,null,3,live\n')
    found = tables.read_tokens(tmp_path / "tokens.csv")
    assert {key: values.tolist() for key, values in found.items()} == {
        "token_id": [0, 1, 2],
        "character": [",", "null", "NA"],
        "count": [5, 3, 0],
        "status": ["live", "live", "dead"],
    }


def test_tables_of_tokens_that_are_none(tmp_path):
    path = tmp_path / "tokens.csv"
    head = "token_id,character,count,status\n"
    assert refused(path, tables.read_tokens, head) == "no rows; expected one for each token"
    assert refused(path, tables.read_tokens, head + "0,a,many,live\n") == (
        "row 1: count is 'many'; expected a whole number"
    )
    assert refused(path, tables.read_tokens, "token_id,count,status\n").startswith("no column 'character'; expected")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "no column 'hole'; expected columns hole, population, token_ids"),
        ("hole,population\n1,2\n", "no column 'token_ids'; expected columns hole, population, token_ids"),
        (HOLES + "x,2,1 2\n", "row 1: hole is 'x'; expected a whole number"),
        (HOLES + "1,2,1 b\n", "row 1: token_ids is '1 b'; expected numbers"),
        (HOLES + "1,3,1 2\n", "hole 1 has 2 token_ids; expected its population, 3"),
        (HOLES + "1,2,1 60\n", "hole 1 holds token 60; expected 0 to 59"),
        (HOLES + "1,2,1 2\n3,2,2 3\n", "a token of hole 3 is there twice; expected each token in one hole at most"),
        (HOLES + "1,2,1 1\n", "a token of hole 1 is there twice; expected each token in one hole at most"),
        (HOLES + "1,2,1 2\n1,2,5 6\n", "two rows are of one hole; expected a row for each"),
    ],
)
def test_what_is_no_table_of_holes(tmp_path, text, message):
    assert refused(tmp_path / "holes.csv", tables.read_holes, text, vocabulary=60) == message


def test_a_table_that_was_cut_off_within_a_row(tmp_path):
    """Every line ends with a line break, so every cut but one at the end of a row shows in the table itself."""
    text = LOG + "1,2,3,4\n2,2,3,40\n"
    for length in range(len(LOG), len(text)):
        if text[length - 1] != "\n":
            said = refused(tmp_path / "log.csv", tables.read_training_log, text[:length])
            assert "cut off" in said or "row 1" in said or "row 2" in said
    cut = "the last line has no end: the table was cut off there"
    assert refused(tmp_path / "log.csv", tables.read_training_log, text[:-2]) == cut
    (tmp_path / "log.csv").write_text(text)
    assert len(tables.read_training_log(tmp_path / "log.csv")["step"]) == 2


def test_statistics(tmp_path):
    path = tmp_path / "overdensity.csv"
    path.write_text("statistic,value\ntokens,3\nmean,\nmedian,1.5e-8\n")
    found = tables.read_statistics(path)
    assert list(found) == ["tokens", "mean", "median"]
    assert (found["tokens"], found["median"]) == (3.0, 1.5e-8)
    assert np.isnan(found["mean"])
    assert refused(path, tables.read_statistics, "x,y\n1,2\n") == (
        "no column 'statistic'; expected columns statistic, value"
    )


def test_readers_import_no_torch():
    check = "import sys; import blackholes.artifacts.tables, blackholes.artifacts.safetensors_header; "
    check += "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(tables.__file__).parents[2])
