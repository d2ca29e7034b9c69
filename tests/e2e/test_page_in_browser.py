"""The page of a finished run in a browser: nothing is asked of a network, nothing fails, and its controls work.

Skipped where there is no Chromium. With SCREENSHOTS=folder, pictures of the page at two widths are left there.
"""

import csv
import os
import re
import shutil
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from blackholes.artifacts.tables import read_columns
from blackholes.artifacts.tensors import open_tensors

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {1400: 900, 390: 844}
SECTIONS = ("#happened", "#explorer", "#experiment-qwen", "#tables", "#trust")

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine (apt-get install chromium)")


def wait(page, condition):
    """Until JavaScript's `condition` holds. The page forbids itself `eval`, by which Playwright's own way waits."""
    until = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < until, condition
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request, chromium, finished):
    """(page at this width, what it said on the console, what it asked for), without a network."""
    context = chromium.new_context(viewport={"width": request.param, "height": WIDTHS[request.param]}, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda it: asked.append(it.url))
    page.goto(finished.path("results/index.html").as_uri())
    wait(page, "document.querySelectorAll('#table-shown tbody tr').length > 0")
    wait(page, "document.getElementById('explorer-said').textContent.length > 0")
    yield page, said, asked
    context.close()


def number(page):
    """The step that is shown."""
    return int(page.locator("#explorer-number").inner_text().replace(",", ""))


def column(page, index):
    """A column of the table that is shown, as text."""
    return page.locator(f"#table-shown tbody tr td:nth-child({index})").all_inner_texts()


def test_the_first_screen_says_what_happened(opened):
    page, _, _ = opened
    text = page.locator("#happened").inner_text()
    assert "All 128 characters start as one vector" in text
    assert "In the only run no two characters share a vector at any step." in text
    assert page.locator(".letters .cell").count() == 128


def test_nothing_is_wider_than_the_screen(opened):
    page, _, _ = opened
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_every_picture_is_shown_and_described(opened):
    page, _, _ = opened
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    wait(page, "[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator("img").count() > 20
    assert page.locator("img:not([alt]), img[alt='']").count() == 0


def test_the_slider_moves_all_views(opened):
    page, _, _ = opened
    slider = page.locator("#explorer-step")
    slider.focus()
    slider.press("Home")
    assert number(page) == 0
    assert page.locator("#explorer-said").inner_text().startswith("Step 0 of 30: 1 hole with 128 characters, 0 alone.")
    assert page.locator("#explorer-holes tbody tr").count() == 1
    pictures = page.evaluate(PICTURES)
    slider.press("ArrowRight")
    assert number(page) == 1
    assert "step 1" in slider.get_attribute("aria-valuetext")
    assert "Here hole 1 splits into" in page.locator("#explorer-said").inner_text()
    assert page.locator("#explorer-holes tbody tr").count() > 1
    later = page.evaluate(PICTURES)
    assert [name for name in pictures if pictures[name] == later[name]] == [], "every view shows the step"
    slider.press("End")
    assert number(page) == 30
    for key, step in (("PageDown", 20), ("ArrowLeft", 19), ("PageUp", 29), ("PageUp", 30)):
        slider.press(key)
        assert number(page) == step
    ticks = page.locator("#explorer-ticks span")
    assert ticks.all_inner_texts() == ["0", "1", "10"]
    places = [float(re.search(r"[\d.]+", tick.get_attribute("style"))[0]) for tick in ticks.all()]
    assert np.allclose(places, 100 * np.array([0, 0.4, 1.4]) / (0.4 + np.log10(30)))


PICTURES = "Object.fromEntries([...document.querySelectorAll('#explorer canvas')].map(it => [it.id, it.toDataURL()]))"


def test_the_steps_below_the_slider_have_room(opened):
    page, _, _ = opened
    page.evaluate("showTicks(10000)")
    boxes = page.locator("#explorer-ticks span").evaluate_all(
        "all => all.map(it => it.getBoundingClientRect().toJSON())"
    )
    slider = page.locator("#explorer-step").bounding_box()
    page.evaluate("showTicks(view.entry.last)")
    assert len(boxes) == 6
    assert all(one["right"] + 3 < two["left"] for one, two in pairwise(boxes))
    ends = [slider["x"] + 8, slider["x"] + slider["width"] - 8]  # where the middle of its handle can be
    assert np.allclose([(box["left"] + box["right"]) / 2 for box in (boxes[0], boxes[-1])], ends, atol=4)


def test_a_picked_token_is_marked_in_all_views(opened):
    page, _, _ = opened
    page.locator("#explorer-step").press("Home")
    before = page.evaluate(PICTURES)
    page.locator("#explorer-find").fill("J")
    page.locator("#explorer-find").press("Enter")
    said = page.locator("#explorer-picked").inner_text()
    assert said.startswith("Picked: J (#74), ")
    assert said.endswith("; in hole 1, with 127 others.")
    after = page.evaluate(PICTURES)
    assert {name for name in before if before[name] != after[name]} == set(before) - {"explorer-counts"}
    page.locator("#explorer-unpick").click()
    assert page.evaluate(PICTURES) == before
    box = page.locator("#explorer-grid").bounding_box()
    page.mouse.click(box["x"] + 4.8 * box["width"] / 16, box["y"] + 2.8 * box["height"] / 8)
    assert page.locator("#explorer-picked").inner_text().startswith("Picked: $ (#36), dead; in hole 1")
    page.locator("#explorer-unpick").click()


def test_play_goes_through_the_steps(opened):
    page, _, _ = opened
    page.locator("#explorer-step").press("Home")
    page.locator("#explorer-play").click()
    wait(page, "Number(document.getElementById('explorer-number').textContent) >= 3")
    page.locator("#explorer-play").click()
    assert page.locator("#explorer-play").inner_text() == "Play"


def test_other_runs_and_experiments(opened):
    page, _, _ = opened
    page.locator("#counts-legend button", has_text="run 2").click()
    wait(page, "view.run === 'run_002'")
    assert page.locator("#explorer-run").input_value() == "run_002"
    page.locator("#explorer-find").fill("#74")
    page.locator("#explorer-find").press("Enter")
    page.locator("#explorer-experiment").select_option("thimble")
    wait(page, "view.entry.name === 'thimble'")
    assert page.locator("#explorer-picked").inner_text() == "", "the picked token was of another vocabulary"
    assert "no hole, all 1,200 tokens alone" in page.locator("#explorer-said").inner_text()
    page.locator("#explorer-experiment").select_option("normal")
    wait(page, "view.entry.name === 'normal'")
    assert page.locator("#explorer-holes tbody").inner_text() == "No hole at this step."
    assert page.locator("#flow-figure").is_hidden()
    page.locator("#explorer-experiment").select_option("qwen")
    wait(page, "view.entry.name === 'qwen'")
    assert page.locator("#flow-figure").is_visible()


def test_a_table_is_filtered_sorted_and_paged(opened):
    page, _, _ = opened
    page.locator("#table-choice").select_option("table-corpus-builtin-tokens")
    wait(page, "document.getElementById('table-said').textContent.includes('builtin/tokens.csv')")
    assert page.locator("#table-said").inner_text() == "corpus/builtin/tokens.csv: 128 of 128 rows."
    page.locator("#table-next").click()
    assert column(page, 1)[0] == "25"
    while page.locator("#table-next").is_enabled():
        page.locator("#table-next").click()
    assert page.locator("#table-page").inner_text() == "Page 6 of 6"
    assert column(page, 1)[-1] == "127"
    page.locator("#table-filter").fill("status=live count>1000")
    assert page.locator("#table-page").inner_text().startswith("Page 1 of ")
    counts = [int(count.replace(",", "")) for count in column(page, 3)]
    assert set(column(page, 4)) == {"live"}
    assert min(counts) > 1000
    sort = page.locator("#table-shown thead button", has_text="count")
    sort.click()
    sort.click()
    assert page.locator("#table-shown th[aria-sort='descending']").inner_text().startswith("count")
    shown = [int(count.replace(",", "")) for count in column(page, 3)]
    assert shown == sorted(shown, reverse=True)
    page.locator("#table-filter").fill("no such word")
    assert column(page, 1) == []
    page.locator("#table-filter").fill("")


def test_every_step_has_the_holes_of_the_files(opened, finished):
    page, _, _ = opened
    names = read_columns(str(finished.path("results/corpus/builtin/tokens.csv")), {"character": str})["character"]
    with open_tensors(str(finished.path("results/qwen/run_001/black_hole_counts.safetensors"))) as file:
        labels = file.rows("labels").numpy()
    events = told_events(finished.path("results/qwen/run_001/lineage_events.csv"))
    page.locator("#explorer-step").press("Home")
    seen = set()
    for _ in range(len(labels)):
        step = number(page)
        seen.add(step)
        members = {}
        for token, label in enumerate(labels[step]):
            members.setdefault(label, []).append(token)
        wanted = [tokens for tokens in members.values() if len(tokens) > 1]
        shown = page.evaluate(MEMBERS)
        assert sorted(shown) == sorted([f"{names[t]} (#{t})" for t in tokens[:40]] for tokens in wanted), step
        sizes = [int(cell) for cell in page.locator("#explorer-holes tbody td:nth-child(2)").all_inner_texts()]
        assert sizes == sorted(map(len, wanted), reverse=True)
        counts = page.locator("#explorer-counts").get_attribute("aria-label")
        assert counts.startswith(f"Number of holes at step {step}: run 1: {len(wanted)}, run 2: ")
        happened = page.locator("#explorer-said").inner_text().partition(" Here ")[2].removesuffix(".").split("; ")
        told = events.get(step, [])
        assert [*filter(None, told[:6])] == [event for event in happened if "splits into" in event]
        assert len([*filter(None, happened)]) == min(len(told), 7), "six, and how many more"
        page.locator("#explorer-step").press("ArrowRight")
    assert seen == set(range(len(labels)))
    most = max(range(len(labels)), key=lambda step: sum(np.bincount(labels[step]) > 1))
    assert page.evaluate("view.data.steps[firstRow()]") == most, "where the explorer begins"


def told_events(file):
    """Step → its events without flicker, a split in words and any other as ""."""
    found = {}
    with open(file, newline="") as lines:
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            parents, children = (row[key].replace(" ", ", ") for key in ("parents", "children"))
            split = f"hole {parents} splits into {children}" if row["kind"] == "fission" else ""
            if not int(row["flicker"]):
                found.setdefault(int(row["step"]), []).append(split)
    return found


MEMBERS = """[...document.querySelectorAll('#explorer-holes tbody tr')]
  .map(row => [...row.querySelectorAll('button')].map(it => it.title))"""


def test_the_grid_shows_a_colour_a_hole(opened, finished):
    page, _, _ = opened
    with open_tensors(str(finished.path("results/qwen/run_001/black_hole_counts.safetensors"))) as file:
        labels = file.rows("labels").numpy()
    for keys in ([], ["PageDown"], ["End"]):
        page.locator("#explorer-step").press("Home")
        for key in keys:
            page.locator("#explorer-step").press(key)
        step = number(page)
        colours = page.evaluate(CORNERS)
        held = [int((labels[step] == label).sum()) > 1 for label in labels[step]]
        pale = {colour for colour, some in zip(colours, held, strict=True) if not some}
        assert pale <= {"244,246,248"}, step
        holes = {(label, colour) for label, colour, some in zip(labels[step], colours, held, strict=True) if some}
        assert len(holes) == len({label for label, _ in holes}), "one colour a hole"
        assert not pale & {colour for _, colour in holes}
    assert step == 30


CORNERS = """(() => {
  const canvas = document.getElementById("explorer-grid");
  const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
  const context = copy.getContext("2d", {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  const size = canvas.width / 16;
  return view.tokens.names.map((_, token) => {
    const x = Math.round((token % 16 + 0.16) * size), y = Math.round((Math.floor(token / 16) + 0.16) * size);
    return [...context.getImageData(x, y, 1, 1).data.slice(0, 3)].join();
  });
})()"""


def test_the_plane_has_the_places_of_the_file(opened, finished):
    """A click where a token lies picks it, or a member of its hole; zoomed or not."""
    page, _, _ = opened
    with open_tensors(str(finished.path("results/qwen/run_001/explorer.safetensors"))) as file:
        plane, steps = file.rows("plane").float().numpy(), file.rows("steps").tolist()
    page.locator("#explorer-step").press("End")
    expected = plane[steps.index(30)]
    for token in (10, 32, 101):
        shown = page.evaluate(f"tokenPlace({token})")
        assert np.allclose(shown, expected[token], atol=np.ptp(plane) / 2000)
    alone = "view.tokens.names.map((_, token) => token).filter(token => !holeOf(token))"
    far = page.evaluate(f"{alone}.sort((a, b) => tokenPlace(b)[0] - tokenPlace(a)[0])[0]")
    for button in (None, "#plane-out"):
        if button:
            extents = [page.evaluate("view.zoom.extent")]
            for click in (button, button, "#plane-in"):
                page.locator(click).click()
                extents.append(page.evaluate("view.zoom.extent"))
            assert np.allclose(extents, extents[0] * np.array([1, 1.5, 2.25, 1.5])), "out shows more, in less"
        heights = page.evaluate(
            "(() => { const s = planeScales(900); return view.tokens.names.map((_, t) => s.y(tokenPlace(t)[1])); })()"
        )
        assert np.all(np.diff(np.array(heights)[np.argsort(expected[:, 1])]) <= 1e-6), "up is plus"
        canvas = page.locator("#explorer-plane")
        canvas.scroll_into_view_if_needed()
        x, y = page.evaluate(
            f"(() => {{ const s = planeScales(document.getElementById('explorer-plane').clientWidth);"
            f" const [x, y] = tokenPlace({far}); return [s.x(x), s.y(y)]; }})()"
        )
        canvas.click(position={"x": x, "y": y})
        assert f"(#{far})," in page.locator("#explorer-picked").inner_text()
        page.locator("#explorer-unpick").click()
    page.locator("#plane-fit").check()


def test_clicks_on_axes_of_steps(opened):
    page, _, _ = opened
    for name, left in (("flow", 46), ("counts", 36)):
        canvas = page.locator(f"#explorer-{name}")
        canvas.scroll_into_view_if_needed()
        width = canvas.bounding_box()["width"]
        if name == "flow":
            shown = page.evaluate("view.data.shown")
            for step in (1, 3, 8):
                x = left + (width - left - 14) * (0.4 + np.log10(step)) / shown
                canvas.click(position={"x": x, "y": 200})
                assert number(page) == step
        else:
            page.mouse.move(0, 0)
            x = left + (width - left - 12) * (0.4 + np.log10(10.5)) / (0.4 + np.log10(30))
            y = page.evaluate("countScales(document.getElementById('explorer-counts').clientWidth).y(countAt(0, 10))")
            canvas.hover(position={"x": x, "y": y})
            said = page.locator("#counts-said").inner_text()
            assert re.fullmatch(r"Run \d: \d+ holes? at step 10\.", said), said


def test_tokens_are_found_by_name_and_number(opened):
    page, _, _ = opened
    find = page.locator("#explorer-find")
    for text, token in (("#65", "A (#65)"), ("a", "a (#97)"), ("#127", "(#127)")):
        find.fill(text)
        find.press("Enter")
        assert token in page.locator("#explorer-picked").inner_text()
        page.locator("#explorer-unpick").click()
    for text in ("#128", "no such"):
        find.fill(text)
        find.press("Enter")
        assert page.locator("#explorer-picked").inner_text() == ""
        assert page.evaluate("document.getElementById('explorer-find').validationMessage") == "no such token"
    find.fill("")
    find.press("Enter")


def test_a_table_is_downloaded_as_it_is_filtered(opened, finished, tmp_path):
    page, _, _ = opened
    page.locator("#table-choice").select_option("table-corpus-builtin-tokens")
    wait(page, "document.getElementById('table-said').textContent.includes('builtin/tokens.csv')")
    with finished.path("results/corpus/builtin/tokens.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for text, fits in (
        ("", lambda row: True),
        ("token_id>=40 token_id<=64", lambda row: 40 <= int(row["token_id"]) <= 64),
        ("token_id<64", lambda row: int(row["token_id"]) < 64),
        ("token_id>64", lambda row: int(row["token_id"]) > 64),
        ("status=DEAD", lambda row: row["status"] == "dead"),
    ):
        page.locator("#table-filter").fill(text)
        with page.expect_download() as download:
            page.locator("#table-download").click()
        download.value.save_as(tmp_path / "table.csv")
        with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
            assert [row["token_id"] for row in csv.DictReader(file)] == [row["token_id"] for row in rows if fits(row)]
    page.locator("#table-filter").fill("")


def test_figures_are_downloaded(opened, finished, tmp_path):
    page, _, _ = opened
    figure = page.locator("#figure-qwen-figures-loss_curves")
    for kind in ("PNG", "SVG"):
        with page.expect_download() as download:
            figure.locator("button", has_text=kind).click()
        download.value.save_as(tmp_path / kind)
        stored = finished.path(f"results/qwen/figures/loss_curves.{kind.lower()}")
        assert (tmp_path / kind).read_bytes() == stored.read_bytes()


def test_all_can_be_reached_by_keyboard(opened):
    page, _, _ = opened
    page.locator(".skip").focus()
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    wanted = {"experiment", "run", "find", "play", "step", "grid"}
    assert {f"explorer-{name}" for name in wanted} <= reached


def test_pictures_of_the_page(opened):
    """To be looked at."""
    page, _, _ = opened
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    for section in SECTIONS:
        page.evaluate("section => document.querySelector(section).scrollIntoView()", section)
        page.wait_for_timeout(200)
        path = Path(folder) / f"page-{page.viewport_size['width']}-{section[1:]}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000


def test_nothing_failed_and_nothing_was_asked_for(opened, finished):
    """Last, after all that the other tests did."""
    _, said, asked = opened
    assert said == []
    own = finished.path("results/index.html").as_uri()
    assert [url for url in asked if url != own and not re.match(r"data:|blob:", url)] == []
