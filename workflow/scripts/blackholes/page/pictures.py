"""The figures of the results with their captions: each as a picture in the page, and as SVG and PNG to download."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from blackholes.page import captions
from blackholes.page.packing import data_uri, pack
from blackholes.page.results import Results

# figures that show holes: of an experiment without any, a sentence says so instead
OF_HOLES = (
    "black_hole_counts",
    "black_hole_means",
    "tokens_per_hole",
    "escapes",
    "hole_members",
    "lineage",
    "escape_filmstrip",
)
LARGEST = 12e6  # bytes of all PNG files together: of more, those in the page have 256 colours

FILMS = 2e6  # bytes of films in the page; those after that are only in the folder of the results


@dataclass
class Picture:
    """One figure."""

    id: str  # unique in the page
    name: str  # of the file, without its ending
    title: str
    caption: str  # HTML
    alt: str
    png: str  # data URI
    svg: str  # packed
    width: int  # of the PNG, in pixels
    height: int
    film: str = ""  # data URI of a GIF beside it


def of_folder(
    results: Results,
    folder: str,
    titles: Mapping[str, str],
    reports: Path,
    config: Mapping[str, Any],
    wildcards: Mapping[str, str],
    few_colours: bool = False,
    left_out: tuple[str, ...] = (),
) -> list[Picture]:
    """The figures in a folder of the results, in the order of `titles`.

    Args:
        titles: name of a figure → its title, in which wildcards may stand, as `{run}`.
        reports: the folder of the captions. config, wildcards: what captions are made with.
        few_colours: PNG with 256 colours. left_out: names of figures that are not shown.
    """
    names = {Path(name).stem: name for name in results.under(folder, ".png")}
    shown = []
    for name, title in titles.items():
        if name not in names or name in left_out:
            continue
        caption = captions.to_html(reports / f"{name}.rst", wildcards, config)
        content = results.path(names[name]).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if few_colours:
                content = _quantised(image)
        heading = title.format(
            **{key: value.lstrip("0") if key == "run" else value for key, value in wildcards.items()}
        )
        shown.append(
            Picture(
                identity(folder, name),
                name,
                heading[0].upper() + heading[1:],
                caption,
                f"{heading}: {captions.first_sentence(caption)}",
                data_uri(content, "image/png"),
                pack(results.path(names[name]).with_suffix(".svg").read_bytes()),
                width,
                height,
                film(results, folder) if name == "escape_filmstrip" else "",
            )
        )
    return shown


def film(results: Results, folder: str) -> str:
    """The film in a folder of figures as a data URI, empty where there is none, or no room for it."""
    name, room = f"{folder}/escape_film.gif", FILMS
    for other in results.files:
        if other.endswith(".gif"):
            room -= results.path(other).stat().st_size
            if other == name and room >= 0:
                return data_uri(results.path(name).read_bytes(), "image/gif")
    return ""


def identity(folder: str, name: str) -> str:
    """The id of a figure in the page."""
    return f"figure-{folder.replace('/', '-')}-{name}"


def size(results: Results) -> int:
    """Bytes of all PNG files that a page is given."""
    return sum(path.stat().st_size for name, path in results.files.items() if name.endswith(".png"))


def _quantised(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
