"""The settings of a run, as `blackholes.config` writes them down: the seed is what tells two runs of one apart."""


def run_settings(shared: dict, run: int) -> dict:
    """Settings of run `run`, which counts from 1: those its experiment's runs share, with `seed` for `base_seed`."""
    rest = {key: value for key, value in shared.items() if key != "base_seed"}
    return {"seed": shared["base_seed"] + run, **rest}
