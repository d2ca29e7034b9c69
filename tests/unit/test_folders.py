"""Folders that Snakemake cannot work in: refused in one line; those that it can are not."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from blackholes.orchestration import folders
from snakemake.exceptions import WorkflowError

SPACE = "/home/me/my work/.venv/bin/python"


def workflow(folder="/home/me/work", cores=2, nodes=None, dryrun=False):
    return SimpleNamespace(
        basedir=folder,
        resource_settings=SimpleNamespace(cores=cores, nodes=nodes),
        output_settings=SimpleNamespace(dryrun=dryrun),
    )


def refusal(made):
    with pytest.raises(SystemExit) as caught:
        folders.refuse(made)
    assert "\n" not in caught.value.code
    return caught.value.code


@pytest.fixture
def system(monkeypatch):
    def set_to(platform, executable):
        monkeypatch.setattr(folders.sys, "platform", platform)
        monkeypatch.setattr(folders.sys, "executable", executable)

    return set_to


def test_braces(tmp_path, monkeypatch):
    line = "braces in the path, which Snakemake takes for wildcards; move it where there are none"
    assert refusal(workflow("/home/{me}/x")) == f"/home/{{me}}/x: {line}"
    (tmp_path / "a}").mkdir()
    monkeypatch.chdir(tmp_path / "a}")
    assert refusal(workflow()) == f"{tmp_path}/a}}: {line}"


def test_a_space_where_jobs_are_not_forks(system):
    system("linux", SPACE)
    said = refusal(workflow(cores=None, nodes=100))
    assert said.startswith(f"{SPACE}: Snakemake does not quote this path when it starts jobs on a cluster; use")
    system("darwin", SPACE)
    assert "when it starts jobs on this system; use" in refusal(workflow())


@pytest.mark.parametrize(
    ("platform", "executable", "made"),
    [
        ("linux", SPACE, workflow("/home/me/my work")),
        ("linux", SPACE, workflow(cores=2, nodes=3)),
        ("darwin", "/usr/bin/python3", workflow("/home/me/my work")),
        ("linux", "/usr/bin/python3", workflow(cores=None, nodes=100)),
        ("darwin", SPACE, workflow(dryrun=True)),
    ],
)
def test_what_works(system, platform, executable, made):
    system(platform, executable)
    folders.refuse(made)


def test_what_a_second_snakemake_is_told_has_its_spaces_and_quotes():
    """The report and `verify` start one, without a shell: each argument reaches it as it is."""
    text = (Path(__file__).parents[2] / "workflow/rules/report.smk").read_text(encoding="utf-8")
    start = text.index("SAME_CONFIGURATION = ")
    names = {
        "workflow": SimpleNamespace(main_snakefile="/home/me/my work/Snakefile"),
        "CONFIG_FILES": ["/home/me/it's mine.yaml"],
        "CONFIG_VALUES": ["a=$(b)"],
    }
    exec(text[start : text.index("\n]\n", start) + 3], names)
    words = names["SAME_CONFIGURATION"]
    assert {"/home/me/my work/Snakefile", "/home/me/it's mine.yaml", "a=$(b)"} <= set(words)


def test_no_rule_has_a_shell_command():
    """In which a path with a space would have to be quoted: rules have scripts, and those start lists of words."""
    workflow = Path(__file__).parents[2] / "workflow"
    rules = [path.read_text(encoding="utf-8") for path in workflow.rglob("*.smk")]
    scripts = [path.read_text(encoding="utf-8") for path in workflow.rglob("*.py")]
    assert len(rules) > 5
    assert not any("shell:" in text or "shell(" in text for text in rules)
    assert not any("shell=True" in text or "os.system" in text for text in scripts)


def test_what_snakemake_cannot_prepare_is_one_line(tmp_path):
    """A folder that turned read-only, or a full disk: this was a traceback of Snakemake's."""

    async def prepare(job):
        if job:
            os.remove(tmp_path / "gone.log")

    asyncio.run(folders.in_a_line(prepare)(None))
    with pytest.raises(WorkflowError) as caught:
        asyncio.run(folders.in_a_line(prepare)("job"))
    assert str(caught.value) == f"error: {tmp_path / 'gone.log'}: cannot be written: No such file or directory"
