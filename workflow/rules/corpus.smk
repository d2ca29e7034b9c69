"""From a text to tokens."""


rule corpus:
    input:
        f"{CORPUS}/tokens.safetensors",


rule prepare_corpus:
    output:
        tokens=f"{CORPUS}/tokens.safetensors",
        table=report(
            f"{CORPUS}/tokens.csv",
            caption="../report/tokens.rst",
            category="Corpus",
            labels={"table": "tokens"},
        ),
    log:
        "results/logs/prepare_corpus.log",
    benchmark:
        "results/benchmarks/prepare_corpus.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "corpus",
            script="prepare_corpus.py",
            corpus=CONFIG.corpus.model_dump(mode="json"),
            text=corpus_digest(),
        ),
    script:
        "../scripts/prepare_corpus.py"
