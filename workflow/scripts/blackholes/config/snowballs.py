"""The configuration of snowballs (row D)."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator

from blackholes.config.fields import Integer, Number, Section, file_path, no_bool, refuse, setting

LARGEST = 1000  # σ
MOST = 10_000  # σ of a sweep, a job each
PERMUTATIONS_A_JOB = 500
WORDS = ("within", "global", "latent")


class Point(Section):
    """A centroid with a random direction."""

    dim: Integer = setting(..., "D", ge=1, le=65536)
    norm: Number = setting(..., "its norm", ge=0, le=1e6)
    seed: Integer = setting(0, "seed of its direction", ge=0, le=2**31 - 1)


_RANGE: dict[str, Any] = {
    "from": (Number, setting(..., "the first σ", ge=0, le=LARGEST)),
    "to": (Number, setting(..., "the last σ", ge=0, le=LARGEST)),
    "num": (Integer, setting(..., "how many", ge=1, le=1000)),
    "scale": (Literal["log", "linear"], setting("log", "`log`: equal ratios; `linear`: equal steps")),
}
Range = create_model("Range", __base__=Section, **_RANGE)  # not a class statement: `from` is a keyword


class Holes(Section):
    """σ over the range in which snowballs around this centroid have both holes and more than one vector."""

    range: Literal["holes"] = setting(..., "`holes`")
    num: Integer = setting(..., "how many σ, in equal ratios", ge=2, le=1000)


def _checked(model: type[Section], value: Mapping) -> dict:
    """Validate a mapping that is one of several types of a key: a ValueError makes the error name the whole key."""
    try:
        return model.model_validate(value).model_dump()
    except ValidationError:
        raise ValueError from None


def _centroid(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _checked(Point, value)
    if not (isinstance(value, str) and value):
        raise ValueError
    return file_path(value)


def _sigma(value: Any) -> Any:
    """Validate and normalise a σ, a word, a range, or a list of these. Ranges are not expanded here."""
    if isinstance(value, list):
        if not value or any(isinstance(item, list) for item in value):
            raise ValueError
        sigmas = [_sigma(item) for item in value]
        if sum(sigma["num"] if isinstance(sigma, dict) else 1 for sigma in sigmas) > MOST:
            raise ValueError
        return sigmas
    if value in WORDS:
        return value
    if isinstance(value, Mapping):
        if "range" in value:
            return _checked(Holes, value)
        limits = _checked(Range, value)
        if limits["scale"] == "log" and not (limits["from"] > 0 and limits["to"] > 0):
            raise ValueError
        return limits
    if not isinstance(value, int | float | str):
        raise ValueError
    number = float(no_bool(value)) + 0.0  # -0 becomes 0
    if not 0 <= number <= LARGEST:  # also refuses NaN
        raise ValueError
    return number


Auto = Literal["auto"]


class Snowball(Section):
    """Synthetic tokens around one point, centroid + N(0, σ²) rounded to bfloat16, n_trials times for every σ. A trial
    depends only on its seed, its σ and its number."""

    centroid: Annotated[str | dict, BeforeValidator(_centroid)] = setting(
        "trained",
        "the point: the centroid of a checkpoint's holes, the tensor `centroid` (D,) of a file, or a random direction",
        "the name of a checkpoint, a .safetensors file, or {dim, norm, seed}",
    )
    sigma: Annotated[float | str | dict | list, BeforeValidator(_sigma)] = setting(
        ["within", "global", "latent", {"range": "holes", "num": 9}],
        "standard deviation of the noise in every dimension, one job per σ. `within`: the spread of the checkpoint's "
        "hole members about their centroid; `global`: that of all their elements about one mean (as the notebook); "
        "`latent`: estimated from what rounding left of the noise. `range: holes`: over all σ with both holes and more "
        "than one vector",
        f"a number from 0 up to {LARGEST}, `within`, `global`, `latent`, {{range: holes, num}}, "
        f"{{from, to, num, scale: log or linear}} (above 0 where log), or a list of these, at most {MOST:,} σ in all",
    )
    n_trials: Integer = setting(100, "trials for every σ", ge=1, le=10_000_000)
    permutations: Integer = setting(
        1000,
        "clouds in which every dimension's values are permuted among the tokens around the checkpoint's largest hole: "
        "the null hypothesis of noise and rounding alone. 0: none; other centroids have no tokens, so none either",
        ge=0,
        le=1_000_000,
    )
    n_tokens: Auto | Annotated[Integer, Field(ge=1, le=16384)] = setting(
        "auto",
        "tokens in a trial; `auto`: the number of the checkpoint's hole members",
        "`auto`, or an integer from 1 up to 16384",
    )
    epsilon: Auto | Annotated[Number, Field(gt=0, le=LARGEST)] = setting(
        "auto",
        "unit of the Chebyshev distances; pairs touch at 2 epsilon or less. `auto`: the bfloat16 ULP of the largest "
        "coordinate of the checkpoint's centroid",
        f"`auto`, or a number above 0 up to {LARGEST}",
    )
    seed: Integer = setting(42, "seed of the noise", ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _random_centroids_need_numbers(self):
        if isinstance(self.centroid, dict):
            given = self.sigma if isinstance(self.sigma, list) else [self.sigma]
            for word in WORDS:
                if word in given:
                    refuse("sigma", word, "numbers where centroid is {dim, norm, seed}, which has no spread of its own")
            if self.n_tokens == "auto":
                refuse("n_tokens", "auto", "an integer where centroid is {dim, norm, seed}")
        return self

    def sigmas(self) -> dict[str, float | str]:
        """One entry per job: label → σ. The label is σ as text. Both are a word where σ depends on the centroid: one of
        WORDS, or `holes_2of9`, the second of 9 σ over the range of holes."""
        sigmas: dict[str, float | str] = {}
        for item in self.sigma if isinstance(self.sigma, list) else [self.sigma]:
            for value in _expand(item) if isinstance(item, dict) else [item]:
                sigmas[value if isinstance(value, str) else _text(value)] = value
        return sigmas

    def settings(self) -> dict:
        """The settings of a trial other than its σ and its number."""
        return self.model_dump(include={"centroid", "n_tokens", "epsilon", "seed"})

    def shown(self) -> str:
        """Label of the σ that is plotted beside the checkpoint: `global`, else the largest number, else the last of the
        range of holes, else `latent`."""
        sigmas = self.sigmas()
        numbers = {label: value for label, value in sigmas.items() if not isinstance(value, str)}
        if "global" in sigmas or not numbers:
            return next((word for word in ("global", *reversed(sigmas)) if word in sigmas), "within")
        return max(numbers, key=lambda label: numbers[label])

    def permutation_jobs(self) -> int:
        """Jobs that the permutations are divided among."""
        return -(-self.permutations // PERMUTATIONS_A_JOB)


def _expand(limits: Mapping) -> list[float] | list[str]:
    """The σ of a range. Numbers between its ends are rounded to six digits, to keep labels short."""
    if "range" in limits:
        return [f"holes_{k}of{limits['num']}" for k in range(1, limits["num"] + 1)]
    first, last, num = limits["from"], limits["to"], limits["num"]
    if num == 1:
        return [first]
    values = []
    for k in range(num):
        share = k / (num - 1)
        if limits["scale"] == "log":
            value = math.exp((1 - share) * math.log(first) + share * math.log(last))
        else:
            value = (1 - share) * first + share * last
        values.append(float(f"{value:.6g}"))
    return [first, *values[1:-1], last]


def _text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def snowball_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise ValueError("a name that starts with a lower-case letter and contains only a-z, 0-9, _ and -")
    return name


def refuse_unknown_centroids(snowballs: Mapping[str, Snowball], checkpoints: Mapping) -> None:
    """Raise, in a validator of the whole configuration, for a centroid that is neither a checkpoint nor a file."""
    for name, snowball in snowballs.items():
        centroid = snowball.centroid
        if isinstance(centroid, str) and centroid not in checkpoints and not centroid.endswith(".safetensors"):
            known = f"a checkpoint ({', '.join(checkpoints)})" if checkpoints else "a checkpoint (there is none)"
            hint = f"`snowballs: {{{name}: false}}` removes it"
            refuse(
                f"snowballs.{name}.centroid", centroid, f"{known}, a .safetensors file or {{dim, norm, seed}}; {hint}"
            )


SNOWBALLS = {"trained": Snowball()}
