"""What the jobs of row E read, and what has to be done before."""


def lattice_run(wildcards):
    """(experiment, run) of an entry of `lattice`, or None where the history is the user's own."""
    source = CONFIG.lattice[wildcards.lattice].run
    return run_of(source) if source else None


def lattice_history(wildcards):
    """The history that an entry of `lattice` is about; nothing where it is missing, which the job will say."""
    if lattice_run(wildcards):
        return history_of(*lattice_run(wildcards))
    path = Path(CONFIG.lattice[wildcards.lattice].path).expanduser()
    return str(path) if path.exists() else []


def lattice_dead_mask(wildcards):
    """The file that says which tokens of a history are dead: of a run, its corpus."""
    if lattice_run(wildcards):
        return corpus_file("tokens.safetensors", lattice_run(wildcards)[0])
    return CONFIG.lattice[wildcards.lattice].dead_mask or []


def lattice_stages(wildcards):
    """The stages before the displacements of a run."""
    if not lattice_run(wildcards):
        return []
    experiment, run = lattice_run(wildcards)
    return [
        corpus_stage(experiment),
        ("train", dict(experiment=experiment, run=run)),
    ]


def lattice_mb(wildcards):
    """Size of what is written of a history's motion in MB, where displacements fit int32, as they mostly do."""
    entry = CONFIG.lattice[wildcards.lattice]
    if entry.run:
        history = history_mb(lattice_run(wildcards)[0])
    else:
        path = Path(entry.path).expanduser()
        history = path.stat().st_size / 1e6 if path.exists() else 0
    sizes = {"delta_W_prime": 2, "U": 1, "exponent_crossings": 0.5}
    return 50 + int(history * (0.15 + sum(sizes[name] for name in entry.keep)))
