"""Motion on the lattice (row E): from a history to displacements in ULP, their validation and tokens' lifecycle."""

LATTICE_FIGURES = {
    "lattice_percentiles": "displacement, percentiles",
    "lattice_phases": "phases of the lifecycle",
    "lattice_motion": "first and last motion",
    "lattice_raster": "raster of one token",
    "lattice_crossings": "exponent crossings",
}


def lattice_history(wildcards):
    """The history that an entry of `lattice` is about; nothing where it is missing, which the job reports."""
    entry = CONFIG.lattice[wildcards.lattice]
    if entry.run:
        return f"<results>/{entry.run}/embedding_evolution.safetensors"
    path = Path(entry.path).expanduser()
    return str(path) if path.is_file() else []  # Snakemake would read a FIFO to its end


def lattice_dead_mask(wildcards):
    """The file that says which tokens of a history are dead: for a run, its corpus."""
    entry = CONFIG.lattice[wildcards.lattice]
    if entry.dead_mask and Path(entry.dead_mask).exists() and not Path(entry.dead_mask).is_file():
        sys.exit(f"lattice.{wildcards.lattice}.dead_mask: {entry.dead_mask}: is no regular file")
    return corpus_file("tokens.safetensors", entry.run.partition("/")[0]) if entry.run else entry.dead_mask or []


def lattice_mb(wildcards):
    """Size of what is written of a history's motion in MB, where displacements have their usual integer types."""
    entry = CONFIG.lattice[wildcards.lattice]
    if entry.run:
        history = history_mb(entry.run.partition("/")[0])
    else:
        path = Path(entry.path).expanduser()
        history = path.stat().st_size / 1e6 if path.exists() else 0
    sizes = {"delta_ordinal": 1, "delta_W_prime": 2, "U": 1, "exponent_crossings": 0.5}
    return 50 + int(history * (0.3 + sum(sizes[name] for name in entry.keep)))


rule lattice:
    input:
        expand(f"{LATTICE}/validation.csv", lattice=CONFIG.lattice),
        expand(f"{LATTICE}/figures/{{figure}}.png", lattice=CONFIG.lattice, figure=LATTICE_FIGURES),


rule lattice_displacements:
    input:
        history=lattice_history,
        dead_mask=lattice_dead_mask,
    output:
        displacements=f"{LATTICE}/lattice_displacements.safetensors",
        norms=f"{LATTICE}/displacement_norms.safetensors",
        raster=f"{LATTICE}/raster.safetensors",
        steps=f"{LATTICE}/displacement_per_step.csv",
        overall=report(
            f"{LATTICE}/displacement_overall.csv",
            caption="../report/displacement_overall.rst",
            category="Lattice",
            labels={"table": "displacement, all steps", "lattice": "{lattice}"},
        ),
        validation=report(
            f"{LATTICE}/validation.csv",
            caption="../report/lattice_validation.rst",
            category="Lattice",
            labels={"table": "validation", "lattice": "{lattice}"},
        ),
        integers=report(
            f"{LATTICE}/integer_types.csv",
            caption="../report/integer_types.rst",
            category="Lattice",
            labels={"table": "integer types", "lattice": "{lattice}"},
        ),
        samples=report(
            f"{LATTICE}/odd_samples.csv",
            caption="../report/odd_samples.rst",
            category="Lattice",
            labels={"table": "odd coordinates", "lattice": "{lattice}"},
        ),
        lifecycle=f"{LATTICE}/lifecycle.csv",
        medians=report(
            f"{LATTICE}/lifecycle_medians.csv",
            caption="../report/lifecycle_medians.rst",
            category="Lattice",
            labels={"table": "medians of the lifecycle", "lattice": "{lattice}"},
        ),
    log:
        "<results>/logs/lattice/{lattice}.log",
    benchmark:
        "<results>/benchmarks/lattice/{lattice}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt * int(1000 * CONFIG.lattice[wildcards.lattice].memory_budget_gb),
        disk_mb=lattice_mb,
        runtime=lambda wildcards, attempt: attempt * (10 + lattice_mb(wildcards) // 1000),
    params:
        settings=lambda wildcards: CONFIG.lattice[wildcards.lattice].model_dump(exclude={"memory_budget_gb"}),
        code=code_digest("lattice.py"),
    script:
        "../scripts/lattice.py"


rule lattice_figures:
    input:
        steps=f"{LATTICE}/displacement_per_step.csv",
        lifecycle=f"{LATTICE}/lifecycle.csv",
        raster=f"{LATTICE}/raster.safetensors",
    output:
        **figure_outputs(LATTICE, "Lattice", LATTICE_FIGURES, lattice="{lattice}"),
    log:
        "<results>/logs/figures/{lattice}_lattice.log",
    benchmark:
        "<results>/benchmarks/figures/{lattice}_lattice.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "lattice",
            LATTICE_FIGURES,
            lambda wildcards: {"lattice": wildcards.lattice, "dpi": CONFIG.figures.dpi},
        ),
    script:
        "../scripts/figures.py"
