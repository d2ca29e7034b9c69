"""Motion on the lattice (row E): from a history to displacements in ULP, their validation and tokens' lifecycle."""


rule lattice:
    input:
        expand(f"{LATTICE}/validation.csv", lattice=CONFIG.lattice),
        entry_figures("lattice", CONFIG.lattice),


rule lattice_displacements:
    input:
        history=lattice_history,
        dead_mask=lattice_dead_mask,
    output:
        displacements=f"{LATTICE}/lattice_displacements.safetensors",
        norms=f"{LATTICE}/displacement_norms.safetensors",
        raster=f"{LATTICE}/raster.safetensors",
        steps=f"{LATTICE}/displacement_per_step.csv",
        validation=report(
            f"{LATTICE}/validation.csv",
            caption="../report/lattice_validation.rst",
            category="Lattice",
            labels={"table": "validation", "lattice": "{lattice}"},
        ),
        lifecycle=f"{LATTICE}/lifecycle.csv",
        medians=report(
            f"{LATTICE}/lifecycle_medians.csv",
            caption="../report/lifecycle_medians.rst",
            category="Lattice",
            labels={"table": "medians of the lifecycle", "lattice": "{lattice}"},
        ),
    log:
        "results/logs/lattice/{lattice}.log",
    benchmark:
        "results/benchmarks/lattice/{lattice}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * int(1000 * CONFIG.lattice[wildcards.lattice].memory_budget_gb),
        disk_mb=lattice_mb,
        runtime=lambda wildcards, attempt: attempt
        * (10 + lattice_mb(wildcards) // 1000),
    params:
        **RECIPES.stage(
            "lattice",
            script="lattice.py",
            after=lattice_stages,
            settings=lambda wildcards: CONFIG.lattice[wildcards.lattice].model_dump(
                exclude={"memory_budget_gb"}
            ),
        ),
    script:
        "../scripts/lattice.py"
