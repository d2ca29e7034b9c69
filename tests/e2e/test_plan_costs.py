"""`snakemake plan` says what would run, why and at what cost, and runs nothing of it."""

import re


def test_a_plan_of_an_edited_configuration(clone):
    before = clone.digests()
    assert "nothing would run" in clone.run("plan").said
    clone.path("overlay.yaml").write_text("experiments: {normal: {learning_rate: 0.002}}")
    clone.edit("workflow/scripts/blackholes/figures/curves.py", "EDITED = True")
    said = clone.run("plan", overlay="overlay.yaml").said
    assert re.search(
        r"plan: train normal/001: .* s, .* of files, .* of memory\nplan:     learning_rate: 0.001 → 0.002", said
    )
    assert "plan:     code: blackholes/figures/curves.py" in said
    assert "train qwen" not in said
    assert re.search(r"plan: \d+ jobs: about .* on 2 cores", said)
    assert "the time that they took before: " in said
    assert clone.digests() == before
