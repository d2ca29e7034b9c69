"""What would run, why, and what it will cost: reasons in words, and the arithmetic of estimates."""

import json
import subprocess
from types import SimpleNamespace

import pytest
from blackholes.config import model
from blackholes.errors import UserError
from blackholes.orchestration import code, costs, work
from blackholes.orchestration.reasons import again, indented, reasons
from blackholes.plan import run

A, B = "0123456789abcdef", "fedcba9876543210"


def job(rule="train", **changes):
    """As a dry run describes a job."""
    bare = {
        **{"rule": rule, "wildcards": {}, "work": 1.0, "outputs": [f"results/{rule}"], "benchmark": "", "threads": 1},
        **{"after": [], "resources": {}, "missing": [], "incomplete": [], "inputs": [], "derived": False},
        **{"old": [], "new": []},
    }
    return bare | changes


# --- why


def test_a_key_that_changed():
    old = {"steps": 10, "model": {"width": 16, "layers": 1}, "learning_rate": 0.001}
    new = {"steps": 10, "model": {"width": 32, "layers": 1}, "learning_rate": 0.002}
    said = reasons(job(old=[repr(old)], new=[repr(new)]), {})
    assert said == ["learning_rate: 0.001 → 0.002", "model.width: 16 → 32"]
    assert reasons(job(old=["5"], new=["'all'"]), {}) == ["5 → all"]
    assert reasons(job(old=["[1]", "2"], new=["3"]), {}) == ["its parameters are others"]


def test_a_module_that_changed():
    known = {A: {"a.py": "1", "b.py": "1", "gone.py": "1"}, B: {"a.py": "2", "b.py": "1", "new.py": "1"}}
    changed = job(old=[repr(A)], new=[repr(B)])
    assert reasons(changed, known) == ["code: a.py, gone.py (gone) and 1 more"]
    files = [repr([A, B]), repr([A, A])]
    assert reasons(job(old=[files[0]], new=[files[1]]), known) == ["files beside the code: 1 of 2 changed"]
    assert reasons(changed, {B: known[B]}) == [f"code: {A} → {B} (of which modules, was not recorded)"]


def test_both_and_others():
    said = reasons(job(old=[repr(A), "{'a': 1}"], new=["{'a': 2}", repr(B)]), {A: {"x.py": "1"}, B: {"x.py": "2"}})
    assert said == ["code: x.py", "a: 1 → 2"]
    assert reasons(job(missing=["x", "y", "z"], derived=True), {}) == ["missing: x, y and 1 more"]
    assert reasons(job(inputs=["x"], incomplete=["y"]), {}) == ["incomplete: y", "changed: x"]
    assert reasons(job(derived=True), {}) == ["jobs before it run"]
    assert reasons(job(), {}) == ["it was asked for"]


def test_jobs_that_run_again():
    """By rule and reason; not those that never ran, nor those that only follow others."""
    changed = {"old": ["{'steps': 10}"], "new": ["{'steps': 20}"]}
    runs = [job(wildcards={"experiment": "qwen", "run": f"00{run}"}, **changed) for run in range(1, 6)]
    others = [job("page"), job("corpus", missing=["x"]), job("lineage", derived=True), job("census", inputs=["x"])]
    assert again([*others, job("verify", outputs=[]), *runs], {}) == [
        "page: it was asked for",
        "census: changed: x",
        "train qwen/001, qwen/002, qwen/003, 2 more: steps: 10 → 20",
    ]


def test_many_lines_are_cut():
    lines = [str(i) for i in range(14)]
    assert indented(lines[:12]) == [f"  {line}" for line in lines[:12]]
    assert indented(lines) == [*(f"  {line}" for line in lines[:12]), "  and 2 more"]


def test_a_digest_of_code_knows_its_modules(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("x = 1\n")
    script = tmp_path / "script.py"
    script.write_text("from package import part\n")
    before = code.digest(script, package)
    (package / "part.py").write_text("x = 2\n")
    code.forget()
    after = code.digest(script, package)
    said = reasons(job(old=[repr(before)], new=[repr(after)]), code.known)
    assert said == ["code: package/part.py"]


# --- how much


@pytest.fixture
def config():
    return model.load({}).model_dump(mode="json")


def test_work_grows_with_steps_and_vocabulary(config):
    of = {"experiment": "qwen", "run": "001", "lattice": "qwen", "snowball": "trained", "checkpoint": "trained"}
    before = {rule: work.work(rule, of, config) for rule in ("train", "distances", "lineage", "lattice_displacements")}
    config["experiments"]["qwen"]["steps"] = 20_001  # of 10,000
    for rule, was in before.items():
        assert work.work(rule, of, config) == pytest.approx(2 * was, rel=1e-3)
    config["experiments"]["qwen"]["model"]["vocabulary_size"] *= 2
    assert work.work("distances", of, config) == pytest.approx(8 * before["distances"], rel=1e-3)
    assert work.work("lineage", of, config) == pytest.approx(4 * before["lineage"], rel=1e-3)
    assert 2 * before["train"] < work.work("train", of, config) < 4 * before["train"]


def test_several_runs_in_a_job_are_as_much_work_as_each(config):
    of = {"experiment": "qwen"}
    assert work.work("train_qwen_003_006", {}, config) == 4 * work.work("train", of, config)
    assert work.work("train_qwen_recorded", {"run": "001"}, config) == work.work("train", of, config)


def test_a_rule_or_an_entry_that_is_not_known(config):
    assert work.work("experiments_figure", {}, config) == 1
    config["checkpoints"]["trained"]["run"] = None
    assert work.work("census", {"checkpoint": "trained"}, config) == 1


def benchmark(folder, name, rule, work_done, seconds, megabytes=300.0):
    path = folder / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n9\t0\t9\n{seconds}\t0:00:01\t{megabytes}\n")
    path.with_suffix(".json").write_text(json.dumps({"rule": rule, "work": work_done}))
    return str(path)


def test_a_job_is_judged_by_itself_then_by_its_rule_then_by_default(tmp_path):
    own = benchmark(tmp_path, "train/a", "train", 100.0, 10.1)
    benchmark(tmp_path, "train/b", "train_x_001_002", 1000.0, 80.1)
    past = costs.recorded(tmp_path)
    one = costs.cost(job(work=200.0, benchmark=own), past)
    assert (one.by, one.seconds) == ("itself", pytest.approx(20.1))
    one = costs.cost(job(work=2000.0, benchmark="another"), past)
    assert (one.by, one.seconds) == ("its rule", pytest.approx(160.1))  # the nearest in work
    one = costs.cost(job("distances", work=2 * 3.15e9), past)
    assert (one.by, one.seconds) == ("default", pytest.approx(0.1 + 2 * 1.3))
    for size in (1.0, 1e9):  # a unit of its own, of which nothing is known
        unknown = costs.cost(job("unheard_of", work=size), past)
        assert (unknown.by, unknown.seconds, unknown.memory_mb) == ("default", pytest.approx(2.0), 350.0)
    assert costs.cost(job(work=100.0, benchmark=own), past).seconds == pytest.approx(10.1)


def test_every_rule_whose_work_is_measured_has_a_default_in_that_unit():
    assert set(work.WORK) <= set(costs.DEFAULTS)


def test_memory_and_disk(tmp_path):
    own = benchmark(tmp_path, "a", "train", 1.0, 5, megabytes=350.0)
    past = costs.recorded(tmp_path)
    assert costs.cost(job(work=3.0, benchmark=own), past).memory_mb == 250 + 3 * 100
    assert costs.cost(job(work=0.1, benchmark=own), past).memory_mb == 350
    assert costs.cost(job(work=30.0, benchmark=own, resources={"mem_mb": 800}), past).memory_mb == 800
    out = tmp_path / "out"
    out.write_bytes(b"x" * 2_000_000)
    assert costs.cost(job(work=3.0, benchmark=own, outputs=[str(out)]), past).disk_mb == 6
    assert costs.cost(job(benchmark=own, outputs=[str(out), "none"], resources={"disk_mb": 90}), past).disk_mb == 40


def test_benchmarks_that_say_nothing(tmp_path):
    for name, text in {"empty": "", "words": "s\tmax_rss\n-\tNA\n", "nan": "s\tmax_rss\nnan\t1\n"}.items():
        path = benchmark(tmp_path, name, "train", 1.0, 1)
        (tmp_path / "benchmarks" / f"{name}.tsv").write_text(text)
        assert work.noted(path) == ("train", 1.0)
    (tmp_path / "benchmarks/without.tsv").write_text("s\tmax_rss\n1\t1\n")
    (tmp_path / "benchmarks/without.json").write_text("[1]")
    assert costs.recorded(tmp_path) == {}


def test_the_work_of_a_job_is_noted_beside_its_benchmark(tmp_path, config):
    path = tmp_path / "a.tsv"
    work.note(path, "distances", {"experiment": "qwen"}, config)
    assert work.noted(path) == ("distances", work.work("distances", {"experiment": "qwen"}, config))
    work.note(tmp_path / "gone" / "a.tsv", "distances", {"experiment": "qwen"}, config)  # passes
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("threads", "after", "cores", "expected"),
    [
        ([1, 1, 1, 1], [[], [], [], []], 2, 5.0),  # 4 beside 3 and 2, and 1 where there is room
        ([1, 1, 1, 1], [[], [], [], []], 1, 10.0),
        ([1, 1, 1, 1], [[], ["0"], ["1"], ["2"]], 4, 10.0),
        ([2, 1, 1, 1], [[], [], [], []], 2, 7.0),
        ([9, 1, 1, 1], [[], ["elsewhere"], [], []], 2, 7.0),  # more threads than there are: all of them
    ],
)
def test_the_time_of_all(threads, after, cores, expected):
    jobs = [job(threads=threads[i], after=after[i], outputs=[str(i)]) for i in range(4)]
    assert costs.wall_clock(jobs, [4.0, 3.0, 2.0, 1.0], cores) == expected


# --- said


def test_what_is_said(tmp_path, monkeypatch):
    jobs = [
        job("distances", wildcards={"run": "b"}, outputs=["d"], after=["t"], derived=True, work=3.15e9),
        job("train", wildcards={"e": "q", "run": "b"}, outputs=["t"], old=["{'a': 1}"], new=["{'a': 2}"], work=7.55e11),
        job("report", outputs=["r"], after=["d"], old=[repr(A)], new=[repr(B)]),
    ]
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/code_digests.json").write_text(json.dumps({A: {"x.py": "1"}}))

    def answers(command, **options):
        assert command[-3:] == ["--quiet", "rules", "--nolock"]
        with open(options["env"]["BLACKHOLES_PLAN"], "w") as file:
            json.dump({"jobs": jobs, "digests": {B: {"x.py": "2"}}}, file)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", answers)
    monkeypatch.chdir(tmp_path)
    said = []
    seconds = run.run(tmp_path, [], 2, said.append)
    assert seconds == pytest.approx(8 + 51 + 1.4 + 3.8)
    assert said == [
        "train q/b: 51.0 s, 0 MB of files, 407 MB of memory",
        "    a: 1 → 2",
        "distances b: 1.4 s, 0 MB of files, 512 MB of memory",
        "    jobs before it run",
        "report: 3.8 s, 0 MB of files, 250 MB of memory",
        "    code: x.py",
        "3 jobs: about 1:04 min on 2 cores (56.2 s of jobs), 0 MB of files, up to 512 MB of memory a job",
        f"judged by what such jobs took on {costs.MEASURED_ON}, by the work: 3",
    ]


def test_a_file_that_is_missing_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ask", lambda arguments: ([job("report", missing=["results/report.html"])], {}))
    monkeypatch.chdir(tmp_path)
    said = []
    run.run(tmp_path, [], 2, said.append)
    assert said[1] == "    it is missing"


def test_disk_that_may_not_be_needed_is_said_to_be_a_bound(tmp_path, monkeypatch):
    jobs = [job("overdensity_distances", resources={"disk_mb": 4050}), job("report")]
    monkeypatch.setattr(run, "ask", lambda arguments: (jobs, {}))
    monkeypatch.chdir(tmp_path)
    said = []
    run.run(tmp_path, [], 2, said.append)
    assert [line.split(", ")[1] for line in said if "report" in line or "overdensity" in line] == [
        "up to 4.0 GB of files",
        "0 MB of files",
    ]
    assert "up to 4.0 GB of files" in said[-2]


def test_nothing_to_do_and_a_call_that_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    said = []
    assert run.run(tmp_path, [], 2, said.append) == 0
    assert said == ["nothing would run: all that this configuration makes is there, and up to date"]
    answer = SimpleNamespace(returncode=1, stdout="\nconfiguration: steps: 0\n\n", stderr="Using a profile\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(UserError, match=r"cannot say what it would run: configuration: steps: 0$"):
        run.run(tmp_path, [], 2, said.append)
