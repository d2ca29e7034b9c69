"""The table in the terminal, from the tables of a run."""

import json

import pytest
from blackholes import show
from blackholes.checkpoints import answer


@pytest.fixture
def results(tmp_path):
    def put(name, text):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    rows = [
        (step, series, step + 0.25) for step in (0, 1, 7) for series in show.COLUMNS if (step, series) != (0, "loss")
    ]
    lines = "".join(f"{step},{series},4,{mean},0\n" for step, series, mean in rows)
    put("toy/summary.csv", "step,series,runs,mean,std\n" + lines)
    put("toy/increases.csv", "run,step\nrun_001,1\nrun_002,7\n")
    put("corpus/text/tokens.csv", "token_id,character,count,status\n0,NA,0,dead\n1,null,3,live\n2,x,0,dead\n")
    for name, sizes in {"none": [], "one": [34], "many": [814, 704, 306, 228, 11, 10]}.items():
        census = {"tokens": 151_936, "holes": len(sizes), "populations": sizes}
        put(f"checkpoints/{name}/census.json", json.dumps(census))
    put(
        "snowballs/one/z_scores.csv",
        "statistic,sigma,mean,checkpoint\nn_unique,0.5,34,1\nn_unique,0,1,1\nn_singletons,0,0,0\nn_unique,,7,2\n",
    )
    put("snowballs/one/permutation_test.csv", "quantity,value\ntokens,40\njoint_p,0.1\n")
    put("snowballs/two/z_scores.csv", "statistic,sigma,mean,checkpoint\nn_unique,0.5,34,1\n")
    put("snowballs/two/permutation_test.csv", "quantity,value\ntokens,9\nnot_tested,all are equal\n")
    put("snowballs/xyz/z_scores.csv", "statistic,sigma,mean,checkpoint\nn_unique,0.5,34,\n")
    put("snowballs/xyz/permutation_test.csv", "quantity,value\nnot_tested,there is no checkpoint\n")
    put(
        "lattice/toy/lifecycle_medians.csv",
        "tokens,coordinates,late\ndead,all,1312\ndead,without tiny,1300\nlive,all,\n",
    )
    put("lattice/still/lifecycle_medians.csv", "tokens,coordinates,late\ndead,all,\n")
    return tmp_path / "results"


def test_summary_of_all_results(results):
    lines = show.table(results).splitlines()
    assert lines[0] == ("toy: means over 4 runs; 2 steps on which the number of holes increased, over all runs")
    assert lines[1].split() == list(show.COLUMNS.values())
    assert [line.split() for line in lines[3:6]] == [
        ["0", *["0.25"] * 5, "-"],
        ["1", *["1.25"] * 6],
        ["7", *["7.25"] * 6],
    ]
    assert lines[7:] == [
        "corpus text: 2 of 3 tokens (66.7%) are dead",
        "checkpoint many: 6 holes of 814, 704, 306, 228, 11, … among 151,936 tokens",
        "checkpoint none: 0 holes among 151,936 tokens",
        "checkpoint one: 1 hole of 34 among 151,936 tokens",
        "snowballs one: 1.0 vectors at σ = 0, 34.0 vectors at σ = 0.5; the checkpoint has 1; permutations: joint p 0.1",
        "snowballs two: 34.0 vectors at σ = 0.5; the checkpoint has 1; not tested: all are equal",
        "snowballs xyz: 34.0 vectors at σ = 0.5",
        "lattice still: the median token freezes: no tokens",
        "lattice toy: the median token freezes: dead tokens after step 1,312",
    ]


def tokens(folder, rows):
    """tokens.csv beside a census: rows of text, category, rank."""
    lines = "".join(f"{text},{category},{rank}\n" for text, category, rank in rows)
    (folder / "tokens.csv").write_text(f"text,category,rank\n{lines}")


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        (
            [("b", "ordinary", 3), ("[unused1]", "unreachable", 2), ("[P]", "special", 1)],
            "2 unused tokens rank first",
        ),
        ([("b", "ordinary", 2), ("[unused1]", "unreachable", 1)], "1 unused token ranks first"),
        ([("[x]", "unreachable", 2), ("b", "byte", 1), ("c", "ordinary", 3)], "'b', '[x]', 'c' rank first"),
        ([("null", "ordinary", 1)], "0 holes among 151,936 tokens"),
        ([("", "unknown", 1)], "0 holes among 151,936 tokens"),
        ([("x", "padding", 1)], "1 unused token ranks first"),
    ],
)
def test_the_answer_about_a_checkpoint(results, rows, end):
    census = results / "checkpoints/none/census.json"
    tokens(census.parent, rows)
    found = answer.answer(census)
    assert found.startswith("0 holes among 151,936 tokens")
    assert found.endswith(end)
    assert not answer.has_holes(census)
    assert answer.has_holes(results / "checkpoints/one/census.json")


def test_a_checkpoint_alone_is_a_result(tmp_path, monkeypatch, capsys):
    (tmp_path / "checkpoints/mine").mkdir(parents=True)
    (tmp_path / "checkpoints/mine/census.json").write_text(json.dumps({"tokens": 9, "holes": 0, "populations": []}))
    monkeypatch.setattr("sys.argv", ["show", str(tmp_path)])
    show.main()
    assert capsys.readouterr().out.startswith("checkpoint mine: 0 holes among 9 tokens\n\nNext:\n")


def test_no_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["show", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        show.main()
    assert caught.value.code == 2
    assert (
        f"{tmp_path}: no summary.csv of any experiment in this folder; run the workflow first"
        in capsys.readouterr().err
    )


def test_where_to_look_and_what_to_try_next(results):
    said = show.ending(results).splitlines()
    assert said[0] == "Next:"
    (results / "index.html").touch()
    assert show.ending(results).splitlines()[:2] == [f"The page: file://{results}/index.html", "Next:"]
    assert f'  from Python: blackholes.open("{results}")' in said


def test_no_fault_of_a_table_makes_a_call_a_failure(results, capsys, monkeypatch):
    from blackholes.config.model import Config

    (results / "toy/summary.csv").write_text("step,series\n")
    show.at_the_end(Config(results=str(results)))
    said = capsys.readouterr().out
    assert "no table of the results: " in said
    assert "Next:" in said
    monkeypatch.setenv(show.LATER, "yes")
    show.at_the_end(Config(results=str(results)))
    assert capsys.readouterr().out == ""
