"""Fonts for the texts of tokens: DejaVu, which comes with matplotlib, and what the machine has for other scripts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font

OWN = "DejaVu Sans"
# files of fonts with Chinese, Japanese, Korean and other scripts, in the order of preference; none is ever downloaded
_FILES = (
    *("NotoSansCJK", "NotoSansSC", "NotoSansJP", "NotoSansKR", "SourceHanSans", "wqy-", "DroidSansFallback"),
    *("NotoSans", "PingFang", "Hiragino", "msyh", "malgun", "unifont"),
)


def families(texts: Iterable[str]) -> list[str]:
    """The fonts to draw these texts with, DejaVu first: more only where it lacks a character and they have one."""
    missing = {ord(letter) for text in texts for letter in text} - characters(OWN)
    found = [OWN]
    for file in installed() if missing else ():
        if not missing:
            break
        try:
            own = set(get_font(file).get_charmap())
            if not missing & own:
                continue
            fontManager.addfont(file)
        except (OSError, RuntimeError):  # a format that FreeType does not read
            continue
        found.append(get_font(file).family_name)
        missing -= own
    return found


@cache
def characters(*names: str) -> frozenset[int]:
    """The code points that these fonts have between them."""
    return frozenset().union(*(get_font(findfont(name, fallback_to_default=False)).get_charmap() for name in names))


@cache
def installed() -> tuple[str, ...]:
    """The machine's font files that may help, in the order of preference. No list of fonts is kept from run to run."""
    files = sorted(findSystemFonts())
    return tuple(file for start in _FILES for file in files if Path(file).name.startswith(start))
