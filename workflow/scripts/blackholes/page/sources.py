"""What the page is made from beside Python. Imported by the rules, so it imports nothing."""

from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
COLUMNS = Path(__file__).with_name("columns.csv")  # unit and meaning of every column of a table
EXPLORER = ("explorer.js", "explorer_grid.js", "explorer_flow.js", "explorer_plane.js", "explorer_counts.js")
SCRIPTS = ("core.js", "tables.js", "figures.js", *EXPLORER, "start.js")  # in this order, in one script
FILES = (*(TEMPLATES / name for name in ("index.html.j2", "explorer.html.j2", "page.css", *SCRIPTS)), COLUMNS)
