"""The key `results`: one folder for a configuration, and everything made is in it."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from blackholes import show
from blackholes.artifacts.records import Records
from blackholes.config import model as config
from blackholes.config.files import load, refuse_without_base, results_folder
from blackholes.errors import UserError
from blackholes.verify import check

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "config.yaml")


def test_every_overlay_has_a_folder_of_its_own():
    named = [yaml.safe_load(path.read_text(encoding="utf-8")).get("results") for path in OVERLAYS]
    assert all(folder.startswith("results/") for folder in named)
    assert len(set(named)) == len(named)
    # a folder of the default configuration is one of an experiment, or of a kind of results
    assert not {Path(folder).name for folder in named} & {*config.RESERVED, *config.EXPERIMENTS}


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_overlays_that_are_said_to_go_together_do(overlay):
    """A command in a comment is one configuration; a file that leaves out `qwen` and `normal` trains its own alone."""
    for command in re.findall(r"--configfile ((?:config/\w+\.yaml ?)+)", overlay.read_text(encoding="utf-8")):
        together = load(["--configfile", *(str(ROOT / name) for name in command.split())])
        alone = load(["--configfile", str(overlay)])
        if "qwen" not in alone.experiments:
            assert set(together.experiments) == set(alone.experiments), command


def test_no_rule_names_the_folder():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        assert re.findall(r"[\"']results/|\"results\"", path.read_text(encoding="utf-8")) == [], path


def test_the_last_file_that_has_the_key_decides(tmp_path):
    files = {"one": "results: a/one\n", "none": "figures: {dpi: 50}\n", "two": "results: a/two/\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    one, none, two = (str(tmp_path / name) for name in files)
    assert results_folder([]) == results_folder(["--configfile", none, "--cores", "2"]) == Path("results")
    assert results_folder(["all", "--configfile", one, two, none, "--cores", "2"]) == Path("a/two")
    assert results_folder(["--configfile", two, one, "--config", "figures={dpi: 50}"]) == Path("a/one")
    assert results_folder(["--configfile", two, "--config", "x=1", "results=b", "-d", "/w"]) == Path("/w/b")
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        results_folder(["--configfile", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        (".", "a folder for the results alone"),
        ("a/..", "a folder for the results alone"),
        ("/", "a folder for the results alone"),
        ("results/{run}", "a path without braces, which Snakemake takes for wildcards"),
        ("<logs>", "a path without angle brackets, which Snakemake takes for its own variables"),
        ("", "a path"),
    ],
)
def test_what_cannot_be_a_folder_of_results(folder, allowed):
    with pytest.raises(UserError) as caught:
        config.load({"results": folder})
    assert str(caught.value) == f"results: {folder!r} is not allowed; expected {allowed}"


def test_a_checkpoint_below_the_folder_is_that_run():
    entries = {"checkpoints": {"trained": {}, "mine": {"path": "my/results/qwen/run_002/model"}}}
    assert config.load({"results": "./my/results/", **entries}).checkpoints["mine"].run == "qwen/run_002"
    assert config.load(entries).checkpoints["mine"].run is None


def test_records_are_in_the_nearest_folder_that_has_logs():
    assert Records.beside("/logs/mine/quick/logs/train/qwen_001.log").root == Path("/logs/mine/quick")
    assert Records.beside("qwen_001.log") is None


def test_results_inside_others_are_not_theirs(tmp_path):
    (tmp_path / "quick").mkdir()
    for root in (tmp_path, tmp_path / "quick"):
        records = Records(root)
        (root / "a.csv").write_text("x\n1\n", encoding="utf-8")
        records.claim([str(root / "a.csv")], "a")
        records.complete([str(root / "a.csv")], "a", root / "logs/a.json")
    found = check.check(tmp_path)
    assert {one.file for one in found} == {"a.csv"}
    assert {one.file for one in check.check(tmp_path / "quick")} == {"a.csv"}


def test_show_says_where_there_are_results(tmp_path, monkeypatch, capsys):
    summary = tmp_path / "quick/toy/summary.csv"
    summary.parent.mkdir(parents=True)
    summary.touch()
    monkeypatch.setattr("sys.argv", ["show", str(tmp_path)])
    with pytest.raises(SystemExit):
        show.main()
    assert f"there are results in {tmp_path / 'quick'}" in capsys.readouterr().err


def test_show_takes_the_folder_of_a_configuration(tmp_path, monkeypatch, capsys):
    (tmp_path / "my.yaml").write_text("results: mine\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["show", "--configfile", "my.yaml"])
    with pytest.raises(SystemExit):
        show.main()
    assert "mine: no summary.csv of any experiment in this folder; run the workflow first" in capsys.readouterr().err


def test_files_are_merged_as_snakemake_does(tmp_path):
    overlays = {"one": "experiments: {qwen: {runs: 2}, normal: false}\n", "two": "experiments: {qwen: {steps: 7}}\n"}
    for name, text in overlays.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    arguments = ["--configfile", str(tmp_path / "one"), str(tmp_path / "two"), "--config", "figures={dpi: 60}"]
    loaded = load(arguments)
    assert (loaded.experiments["qwen"].runs, loaded.experiments["qwen"].steps, loaded.figures.dpi) == (2, 7, 60)
    assert "normal" not in loaded.experiments
    assert load([]) == config.Config()


def test_experiments_have_the_order_that_snakemake_gives_them(tmp_path):
    """The first one's model is the checkpoint `trained`, and tables have this order. Snakemake itself merges here."""
    overlays = {
        "one": "experiments: {mine: {steps: 8}, normal: {runs: 3}}\nfigures: {dpi: 60}\n",
        "two": "experiments: {other: {}, mine: {runs: 5}}\n",
    }
    for name, text in overlays.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "Snakefile").write_text(
        f"import json\nconfigfile: {str(ROOT / 'config/config.yaml')!r}\n"
        "with open('merged.json', 'w') as file:\n    json.dump(config, file)\n"
        "rule nothing:\n",
        encoding="utf-8",
    )
    arguments = ["--configfile", "one", "two", "--config", "experiments={last: {}}"]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", *arguments]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    merged = config.load(json.loads((tmp_path / "merged.json").read_text(encoding="utf-8")))
    with contextlib.chdir(tmp_path):
        loaded = load(arguments)
    assert loaded == merged
    assert list(loaded.experiments) == list(merged.experiments)
    assert loaded.checkpoints["trained"].run == "mine/run_001"


def test_an_overlay_without_its_base():
    base = dict.fromkeys(config.Config.model_fields)
    refuse_without_base(base)
    for key in base:
        with pytest.raises(UserError, match=f"no {key}; expected overlays that are merged into it"):
            refuse_without_base({name: None for name in base if name != key})
