"""Training loss of every run of an experiment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.figures import curves, data, scales, style


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: logs (one per run), tokens (optional: for the reference levels). options: experiment, log_steps."""
    steps, losses = data.read_losses(data.paths(inputs.logs))
    tokens = data.optional(inputs, "tokens")
    counts = None if tokens is None else data.read_tokens(tokens)["count"].to_numpy()
    return draw(steps, losses, counts, options.get("experiment"), options.get("log_steps", True))


@style.styled
def draw(
    steps: np.ndarray,
    losses: np.ndarray,
    token_counts: np.ndarray | None = None,
    experiment: str | None = None,
    log_steps: bool = True,
) -> Figure:
    """steps (N,) from 1, losses (R, N) in nats per token, token_counts (V,) of the corpus."""
    steps, losses = np.asarray(steps), np.asarray(losses, float)
    figure, ((axes,),) = style.panels(1, 1, (7.2, 3.9), style.heading(experiment, len(losses), "training loss"))
    curves.noisy_runs(axes, steps, losses, style.COLOURS["loss"], log_steps)
    more = []
    if token_counts is not None:
        counts = np.asarray(token_counts, float)
        curves.reference(axes, np.log(len(counts)), f"all {len(counts):,} tokens equally likely")
        share = counts[counts > 0] / counts.sum()
        # labelled in the legend, since the curves may end at this level
        level = axes.axhline(
            -(share * np.log(share)).sum(), color=style.COLOURS["reference"], linewidth=1, linestyle=":"
        )
        more = [(level, "token frequencies alone (entropy of the corpus)")]
    axes.set_ylabel("cross-entropy (nats per token)")
    if log_steps:
        scales.log_axis(axes, steps[-1])
    else:
        scales.linear_step_axis(axes, steps[-1])
    curves.noisy_legend(figure, len(losses), [style.COLOURS["loss"]], more)
    return figure
