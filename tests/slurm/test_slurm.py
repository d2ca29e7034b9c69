"""The whole workflow, tiny, through profiles/slurm on a real SLURM: the same bytes as here, whatever befalls a job."""

import pytest
from slurm import cluster, faults
from slurm.faults import FAULTS, PROFILE


@pytest.fixture
def checkout(finished, tmp_path):
    """A checkout in which nothing has run, whose jobs go to the partition main: not the cluster's default one."""
    checkout = finished.clean(tmp_path / "checkout")
    profile = checkout.path("profiles/slurm/config.yaml")
    text = profile.read_text()
    assert "# slurm_partition: short " in text
    profile.write_text(text.replace("# slurm_partition: short ", "slurm_partition: main "))
    return checkout


@pytest.mark.usefixtures("outcomes")  # these go on meanwhile
def test_the_same_bytes_as_a_local_run(slurm, finished, checkout):
    checkout.path("torch.py").write_text("raise ImportError('torch is imported on the head node')\n")
    ran = checkout.run(*PROFILE, seconds=3600)  # a quiet machine needs three minutes
    jobs = cluster.jobs(checkout.folder).values()
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert {job["partition"] for job in jobs} == {"main"}
    assert all(job["name"].startswith("blackholes_") for job in jobs)
    assert {job["memory"] for job in jobs} >= {"1500M"}
    kinds = {job["comment"].split("_wildcards")[0]: job for job in jobs}
    assert set(kinds) >= {"rule_prepare_corpus", "rule_train", "rule_census", "rule_statistics_black_holes"}
    group = kinds["rule_matrices_distances"]  # three, one after the other
    assert (group["threads"], group["memory"], group["limit"]) == ("1", "1500M", "30:00")
    assert len(jobs) < sum(map(len, ran.jobs.values()))
    assert checkout.results("logs/", "benchmarks/") == finished.results("logs/", "benchmarks/")
    assert checkout.digests() == finished.digests()


@pytest.mark.parametrize("name", FAULTS)
def test_a_training_that_a_fault_befell(outcomes, undisturbed, report_row, name):
    ends_as_if_nothing_had_happened(outcomes[name].result(), FAULTS[name], undisturbed, report_row, name)


def test_a_controller_that_was_away(slurm, finished, undisturbed, tmp_path, outcomes, report_row):
    """After the others, which it would befall too."""
    for other in outcomes.values():
        other.exception()
    training = faults.befall(faults.AWAY, finished.copy(tmp_path), slurm)
    ends_as_if_nothing_had_happened(training, faults.AWAY, undisturbed, report_row, "slurmctld away")


def ends_as_if_nothing_had_happened(training, fault, undisturbed, report_row, name):
    jobs = list(training.jobs.values())
    states = tuple(job["state"] for job in jobs)
    same = faults.digests(training.checkout) == undisturbed
    how = training.resumed or "went on", "same bytes" if same else "other bytes"
    report_row(name, ", ".join(states), *how, f"{training.seconds:.0f}")
    assert training.snakemake.returncode == 0, training.said
    assert states == fault.ends, training.said
    assert same
    assert bool(training.resumed) == fault.resumes, training.log
    if name == "scancel":  # as the profile says
        assert [job["memory"] for job in jobs] == ["1500M", "3000M"]
        assert [job["limit"] for job in jobs] == ["22:00", "44:00"]
    if name == "Snakemake killed":
        assert "jobs of a Snakemake that was killed are cancelled" in training.said


def test_a_gpu_is_asked_for_where_the_device_is_one(outcomes):
    """By name; a training is refused by the device itself, since these GPUs are pretended. A group has one in turn."""
    checkout, ran = outcomes["gpu"].result()
    assert "gpu=1" in ran.log
    shown = cluster.output("scontrol", "show", "job", "--oneliner").splitlines()
    here = [line for line in shown if f"WorkDir={checkout.folder} " in line]
    group, alone = sorted(here, key=lambda line: "Comment=rule_train_" in line)
    assert "gres:gpu:1 " in group
    assert "gres:gpu:pretended:1 " in alone
    assert "cuda is not available" in checkout.path(faults.LOG).read_text()


def test_gpus_in_place_of_gpu_is_refused_at_once(finished):
    ran = finished.plan("--set-resources", "train:gpus=1", status=1)
    assert "resources: gpus of train is not allowed; expected gpu, as in gpu=1" in ran.said
