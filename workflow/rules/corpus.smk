"""From a text to tokens."""


rule corpus:
    input:
        expand(f"{CORPUS}/tokens.safetensors", corpus=CONFIG.corpora()),


rule prepare_corpus:
    output:
        tokens=f"{CORPUS}/tokens.safetensors",
        table=report(
            f"{CORPUS}/tokens.csv",
            caption="../report/tokens.rst",
            category="Corpus",
            labels={"table": "tokens", "corpus": "{corpus}"},
        ),
        tokenizer=f"{CORPUS}/tokenizer.json",
    log:
        "results/logs/prepare_corpus/{corpus}.log",
    benchmark:
        "results/benchmarks/prepare_corpus/{corpus}.tsv"
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
            corpus=lambda wildcards: CONFIG.corpora()[wildcards.corpus].model_dump(
                mode="json"
            ),
            text=corpus_digests,
        ),
    script:
        "../scripts/prepare_corpus.py"
