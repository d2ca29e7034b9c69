"""Recipes: everything that enters a stage's files, in one digest, so that Snakemake reruns what changed and no more.

Snakemake compares the parameters of a rule with those its outputs were made with. Two parameters of every rule are
digests: `code`, of its script and every module that imports, and `upstream`, of the recipes of the stages before it.
So a change anywhere above reruns a stage even when its inputs were remade in an earlier call, and the times of files,
which a clone, a checkout or a touch alters, do not matter. Imports no torch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from blackholes.artifacts.provenance import code_digest, digest


@dataclass
class Recipes:
    """The stages of a workflow, as its rules declare them."""

    scripts: Path  # the folder of the scripts; the package lies beside them
    _stages: dict[str, Callable] = field(default_factory=dict)
    _known: dict[tuple, str] = field(default_factory=dict)

    def stage(
        self,
        name: str,
        script: str,
        modules: Iterable[str] = (),
        after: Callable[[object], Iterable[tuple[str, dict]]] = lambda wildcards: (),
        **settings,
    ) -> dict:
        """Declare a stage and get its rule's parameters: `settings`, `code` and `upstream`.

        Args:
            script: file name in the scripts' folder.
            modules: modules that the script imports by a name known only when it runs.
            after: wildcards → (stage, its wildcards) of the stages before it.
            settings: values, or functions of the wildcards.
        """
        code = code_digest(self.scripts / script, self.scripts / "blackholes", *modules)

        def upstream(wildcards) -> str:
            return self.upstream(after(wildcards))

        def all_of_it(wildcards) -> str:
            values = {key: value(wildcards) if callable(value) else value for key, value in settings.items()}
            return digest([code, values, upstream(wildcards)])

        self._stages[name] = all_of_it
        return {**settings, "code": code, "upstream": upstream}

    def upstream(self, stages: Iterable[tuple[str, dict]]) -> str:
        """Digest of the recipes of some stages, each given with its wildcards."""
        return digest([self.recipe(stage, **wildcards) for stage, wildcards in stages])

    def recipe(self, stage: str, **wildcards: str) -> str:
        """Digest of all that enters the files of `stage` for these wildcards."""
        key = (stage, *sorted(wildcards.items()))
        if key not in self._known:
            self._known[key] = self._stages[stage](SimpleNamespace(**wildcards))
        return self._known[key]
