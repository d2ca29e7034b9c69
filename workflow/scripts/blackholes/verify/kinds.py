"""What has to be in the files that notebooks and other tools open: keys, types and shapes; columns of tables.

A file may have more. Files that are not listed are checked too, but for this.
"""

TENSORS = {  # name of a file → key, which may have *; types; sizes, of which equal letters are equal within a folder
    "tokens.safetensors": ("token_ids U8|U16 n", "token_counts I64 V", "dead_mask BOOL V"),
    "embedding_evolution.safetensors": ("embedding_history BF16 S V D",),
    "pairwise_distances.safetensors": ("chebyshev_distances F32 S V V",),
    "black_hole_counts.safetensors": (
        *("counts I32 S", "populations I32 S", "largest_bh_size I32 S", "n_unique I32 S", "n_singletons I32 S"),
        "labels I32 S V",
    ),
    "graph_statistics.safetensors": tuple(
        f"{graph}.{key}"
        for graph in ("identical", "touching", "cells", "*")
        for key in (
            *("n_components I32 S", "largest_component_size I32 S", "n_isolated I32 S", "n_edges I32 S"),
            *("global_density F32 S", "largest_component_density F32 S", "labels I32 S V"),
        )
    ),
    "explorer.safetensors": ("steps I32 K", "identities I32 K V", "plane F32 K V A", "axes F32 A D", "shares F32 A"),
    "geometric_time_series.safetensors": (
        *("centroid F32 S D", "centroid_norm F32 S", "centroid_displacement F32 S", "cloud_radius F32 S"),
        "token_norm_* F32 S",
    ),
    "forces.safetensors": (
        *("gradient F32 T V", "adam F32 T V", "decay F32 T V", "intended F32 T V", "realised F32 T V"),
        *("residual F32 T V", "intended_cells F32 T V", "adam_cells F32 T V", "decay_cells F32 T V"),
        *("stalled F32 T V", "probability F32 T V", "hidden_mean F32 T D", "hidden_spread F32 T"),
    ),
    "forces_series.safetensors": ("movers F32 T", "mutual F32 T", "with_hidden F32 T", "token_adam F32 T"),
    "model.safetensors": ("transformer.wte.weight BF16|F32 V D",),
    "W.safetensors": ("W BF16|F16|F32 V D",),
    "sphere.safetensors": ("latitude F32 V", "longitude F32 V", "radius F32 V", "norm F32 V", "in_box BOOL V"),
    "overdensity_distances.safetensors": ("distances F32 N N", "spike_token_ids I64 N"),
    "black_hole_centroid.safetensors": ("centroid F32 D", "token_ids I64 n"),
    "distance_statistics.safetensors": ("spike_token_ids I64 N", "degrees I64 N", "hole_labels I64 N"),
    "lattice_displacements.safetensors": ("n_steps I64", "n_tokens I64", "n_dims I64"),
    "displacement_norms.safetensors": ("L1 F32 T V", "L2 F32 T V", "Linf F32 T V"),
    "raster.safetensors": ("delta_ordinal I32 T D",),
}
MAY_BE_INFINITE = {  # name of a file → keys whose values may be NaN or infinite
    "distance_statistics.safetensors": ("nearest", "nearest_different"),  # NaN: a token without such a neighbour
    "displacement_norms.safetensors": ("*",),  # a move from an exact zero, in units of 2**-126, can pass float32
    "lattice_displacements.safetensors": ("*",),
    "forces.safetensors": ("*_cells",),  # of a subnormal weight, whose ULP is 2**-133
    "forces_series.safetensors": ("*",),  # NaN: a step without such a value
    "latent.safetensors": ("sigma_latent_*",),  # NaN: estimated by moments, where there is no hole
}
COLUMNS = {  # name of a table → columns that it has to have
    "training_log.csv": "step loss grad_norm learning_rate",
    "events.csv": "step kind parents children tokens",
    "freeze.csv": "token_id dead last_realised last_intended dimensions_never_stalled mispredicted held_by",
    "law.csv": "check checked mismatches",
    "summary.csv": "step series mean std min max runs",
    "increases.csv": "run step before after",
    "comparison.csv": "measure step experiment reference pairs mean reference_mean difference low high",
    "questions.csv": "key question answer effect unit low high n counted measure rule method detail figure files",
    "question_values.csv": "key experiment run seed value",
    "tokens.csv": "token_id",
    "black_holes.csv": "hole population token_ids text norm",
    "overdensity.csv": "statistic value",
    "trials.csv": "sigma trial_id n_tokens n_unique",
    "z_scores.csv": "label sigma statistic checkpoint mean std z",
    "displacement_per_step.csv": "step tokens number exponent_crossings",
    "validation.csv": "kind count value",
    "lifecycle.csv": "token_id status",
    "lifecycle_medians.csv": "tokens number",
    "reproduction.csv": "",
}
