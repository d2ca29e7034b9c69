"""Commands of the documents as dry runs, and their examples of Python on a finished run."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from e2e import forked_snakemake
from e2e.checkout import Ran, environment

ROOT = Path(__file__).resolve().parents[2]
PLANNED = tomllib.loads((ROOT / "tests/documented_commands.toml").read_text(encoding="utf-8"))["planned"]
OVERLAYS = [ROOT / page for page in ("README.md", "docs/checkpoints.md")]


@pytest.fixture(scope="module")
def reader(finished, tmp_path_factory):
    """A fresh checkout with what the commands ask for: overlays of the README, a text and a model."""
    checkout = finished.clean(tmp_path_factory.mktemp("reader"))
    overlay = re.compile(r"^```yaml\n# (\w+\.yaml): [^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for page in OVERLAYS:
        for name, text in overlay.findall(page.read_text(encoding="utf-8")):
            checkout.path(name).write_text(text, encoding="utf-8")
    checkout.path("my_text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 1000)
    checkout.path("path/to").mkdir(parents=True)
    checkout.path("path/to/model").symlink_to(finished.path("results/qwen/run_001/model"))
    return checkout


@pytest.mark.parametrize("command", PLANNED)
def test_commands_plan_what_they_are_for(reader, command):
    program, *arguments = re.sub(r"--cores all", "--cores 2", command).split()
    if "--cores" not in arguments:
        arguments += ["--cores", "2"]
    status, said = forked_snakemake.call(["--dry-run", *arguments], reader.folder, environment(), 120)
    assert (program, status) == ("snakemake", 0), said
    jobs = {re.sub(r"_\d+_\d+$", "", job) for job in Ran(status, said).jobs}
    assert set(PLANNED[command].split()) <= jobs


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "docs/tutorial.md"])
def test_examples_of_python_run(finished, page, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(finished.folder)
    names: dict = {}
    for block in blocks:
        exec(compile(block.replace("results/quick", "results"), page, "exec"), names)
    assert "NUL" in capsys.readouterr().out  # a character that is dead, by its name
    assert os.getcwd() == str(finished.folder)
