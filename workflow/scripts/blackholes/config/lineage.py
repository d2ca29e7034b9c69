"""The configuration of the lineage of black holes (row G)."""

from blackholes.config.fields import Integer, Section, setting


class Lineage(Section):
    """Identities of black holes from step to step."""

    flicker: Integer = setting(
        10,
        "events that undo each other within this many steps are flicker, and counted apart; 0: none is",
        ge=0,
        le=1_000_000,
    )
