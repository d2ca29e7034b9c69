"""Colours of the page that people with deuteranopia or protanopia can tell apart, and text that can be read on them.

The eight colours are those of Okabe and Ito, "Color Universal Design" (2002, revised 2008). Runs have a line style each
beside their colour, holes their number.
"""

# in an order in which neighbours differ most
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # without yellow: pale on white
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "4 2 1 2 1 2")
HOLES = PALETTE[:-1]  # fills
SMALL_HOLES = "#B3B9C3"  # of all holes after those
INK, PAPER = "#1C2129", "#FFFFFF"
TEXT = {  # of text on the page → the ground it stands on
    "ink": (INK, PAPER),
    "quiet": ("#565E6B", PAPER),
    "quiet on panel": ("#565E6B", "#F4F6F8"),
    "link": ("#00578A", PAPER),
    "dead": ("#8A2F0B", PAPER),
    "button": (PAPER, "#00578A"),
}


def luminance(colour: str) -> float:
    """Relative luminance of `#RRGGBB`, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def ink_on(fill: str) -> str:
    """Black or white, whichever can be read better on a fill."""
    return max(("#000000", "#FFFFFF"), key=lambda ink: contrast(ink, fill))
