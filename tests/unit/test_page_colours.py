"""Colours of the page, as people with deuteranopia and protanopia see them, and the contrast of text."""

from itertools import combinations

import numpy as np
import pytest
from blackholes.page import colours

# Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency",
# severity 1.0: linear RGB to linear RGB
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
APART = 10  # CIE76: differences of 2 or 3 are just noticed side by side


def lab(colour, seen):
    """CIE L*a*b* of `#RRGGBB`, D65, after a linear map of its light."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = np.clip(seen @ light, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ light
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize("palette", ["HOLES", "LINES"])
def test_colours_are_told_apart(kind, palette):
    seen = {colour: lab(colour, SEEN[kind]) for colour in getattr(colours, palette)}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > APART, (one, other)


def test_the_simulation_sees_what_is_known():
    """Red and green of one lightness look alike to both, blue and yellow do not; white stays white."""
    for kind in ("protanopia", "deuteranopia"):
        assert np.linalg.norm(lab("#FFFFFF", SEEN[kind]) - lab("#FFFFFF", SEEN["normal"])) < 1
        assert np.linalg.norm(lab("#0000FF", SEEN[kind]) - lab("#FFFF00", SEEN[kind])) > 100
    assert np.linalg.norm(lab("#CC6600", SEEN["deuteranopia"]) - lab("#8A8A00", SEEN["deuteranopia"])) < APART


@pytest.mark.parametrize("name", colours.TEXT)
def test_text_has_contrast(name):
    """AA of WCAG 2.2: 4.5 for text of any size."""
    assert colours.contrast(*colours.TEXT[name]) >= 4.5


@pytest.mark.parametrize("fill", [*colours.HOLES, colours.SMALL_HOLES])
def test_text_on_fills_has_contrast(fill):
    assert colours.contrast(colours.ink_on(fill), fill) >= 4.5


@pytest.mark.parametrize("colour", colours.LINES)
def test_lines_have_contrast_with_the_paper_or_a_style_of_their_own(colour):
    """3 for graphics. The pale ones of Okabe and Ito are below: their dashes and names tell them."""
    dash = colours.DASHES[colours.LINES.index(colour) % len(colours.DASHES)]
    assert colours.contrast(colour, colours.PAPER) >= 3 or (dash and colours.contrast(colour, colours.PAPER) > 1.8)


def test_contrast_of_known_pairs():
    assert colours.contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert colours.contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)
