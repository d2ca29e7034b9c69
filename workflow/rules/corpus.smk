"""From a text to tokens."""


def corpus_digests(wildcards):
    """Digests of a corpus' files, so that an edit counts; None where a text is not a file, or missing."""
    corpus = CONFIG.corpora()[wildcards.corpus]
    paths = [path and Path(path).expanduser() for path in (corpus.path, corpus.tokenizer_text)]
    return [file_digest(path) if path and path.is_file() else None for path in paths]


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
    params:
        corpus=lambda wildcards: CONFIG.corpora()[wildcards.corpus].model_dump(mode="json"),
        text=corpus_digests,
        code=code_digest("prepare_corpus.py"),
    script:
        "../scripts/prepare_corpus.py"
