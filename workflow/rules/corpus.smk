"""From a text to tokens."""

from blackholes import limits


def corpus_digests(wildcards):
    """Digests of a corpus' files, so that an edit counts; None for one that the job will refuse."""
    corpus = CONFIG.corpora()[wildcards.corpus]
    return [users_digest(path, limits.LARGEST_TEXT) for path in (corpus.path, corpus.tokenizer_text)]


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
        "<results>/logs/prepare_corpus/{corpus}.log",
    benchmark:
        "<results>/benchmarks/prepare_corpus/{corpus}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        corpus=lambda wildcards: CONFIG.corpora()[wildcards.corpus].model_dump(mode="json"),
        text=corpus_digests,
        code=code_digest("prepare_corpus.py"),
    script:
        "../scripts/prepare_corpus.py"
