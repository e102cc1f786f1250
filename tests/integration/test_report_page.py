"""report.html in a real browser, as a file without a network: structures and their map, screens, dark mode, paper, accessibility."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read

from distillery.dataset.parts import read_part
from distillery.report.page.page import write_page
from tests.browser import Page, expect, find_serious
from tests.dataset_folder import write_parts

MOST_SHEETS = 8
"""Of A4; without a layout for paper the report of this dataset took 22."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small dataset, beside its parts."""
    folder = tmp_path_factory.mktemp("dataset")
    write_parts(folder)
    write_page(folder, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """Nothing is asked of any network."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def shown_id(page: Page) -> str:
    return page.locator("#structure-id").inner_text()


def open_report(page: Page, report: Path, fragment: str = "") -> None:
    page.goto(f"file://{report}{fragment}")
    expect(page.locator("#structure-id")).not_to_be_empty()


def is_drawn(page: Page, canvas: str) -> bool:
    """Whether a picture has more than one colour."""
    return bool(
        page.evaluate(
            """(selector) => {
                const from = document.querySelector(selector), to = document.createElement("canvas");
                to.width = from.width; to.height = from.height;
                to.getContext("2d").drawImage(from, 0, 0);
                return new Set(new Uint32Array(to.getContext("2d").getImageData(0, 0, to.width, to.height).data.buffer)).size > 20;
            }""",
            canvas,
        )
    )


def test_a_click_on_a_point_shows_its_structure(page: Page, report: Path) -> None:
    open_report(page, report)
    page.locator("#gallery").scroll_into_view_if_needed()
    before = shown_id(page)
    page.wait_for_selector("#map .point")
    farthest = page.evaluate("((y) => y.indexOf(Math.max(...y)))(document.getElementById('map').data[1].y)")
    wanted = page.evaluate(f"document.getElementById('map').data[1].customdata[{farthest}]")
    page.locator("#map .trace").nth(1).locator(".point").nth(farthest).click(force=True)
    expect(page.locator("#choice")).to_have_value(str(wanted))
    assert shown_id(page) == page.evaluate(f"carried.structures[{wanted}].id") != before
    assert is_drawn(page, "#scene canvas")
    ring = page.evaluate("document.getElementById('map').data.at(-1)")
    values = page.evaluate(f"carried.structures[{wanted}].values")
    assert (ring["x"], ring["y"]) == ([values["n_atoms"]], [values["force"]])


def test_arrow_keys_go_from_point_to_point(page: Page, report: Path) -> None:
    open_report(page, report)
    page.locator("#gallery").scroll_into_view_if_needed()
    page.wait_for_selector("#map .point")
    page.focus("#map")

    def press(key: str) -> dict[str, float]:
        page.keyboard.press(key)
        chosen: dict[str, float] = page.evaluate(
            "((k) => ({k: Number(k), ...carried.structures[k].values}))(document.getElementById('choice').value)"
        )
        return chosen

    assert press("Home")["n_atoms"] == page.evaluate("Math.min(...carried.structures.map((one) => one.values.n_atoms))")
    walked = [press("ArrowRight") for _ in range(6)]
    assert len({one["k"] for one in walked}) == len(walked)
    here = press("ArrowDown")["force"]
    assert press("ArrowUp")["force"] >= here
    last = press("End")
    assert last["n_atoms"] == page.evaluate("Math.max(...carried.structures.map((one) => one.values.n_atoms))") > walked[-1]["n_atoms"]
    before = press("ArrowLeft")
    assert before["k"] != last["k"]
    assert before["n_atoms"] <= last["n_atoms"]
    assert shown_id(page) == page.evaluate("carried.structures[document.getElementById('choice').value].id")


def test_axes_of_the_map_are_chosen(page: Page, report: Path) -> None:
    open_report(page, report)
    page.select_option("#map-x", "energy")
    page.select_option("#map-y", "pressure")
    assert page.evaluate("document.getElementById('map').layout.xaxis.title.text") == "energy, eV/atom"
    n_points = page.evaluate("document.getElementById('map').data.slice(0, 2).map((trace) => trace.x.length)")
    assert n_points == [0, 30]  # molecules have no pressure


def test_structures_are_found_by_formula_source_and_link(page: Page, report: Path) -> None:
    open_report(page, report)
    page.fill("#search", "Si")
    expect(page.locator("#found")).to_have_text("30 of 90 structures")
    assert page.locator("#structure-formula").inner_text() == "Si8"
    page.fill("#search", "")
    page.click("[data-source=molecules]")
    expect(page.locator("#found")).to_have_text("60 of 90 structures")
    assert "molecules" in page.locator("#structure-source").inner_text()
    page.fill("#search", "no such thing")
    expect(page.locator("#found")).to_have_text("No structure is like that.")
    link = page.locator("#outliers a").first
    link.click()
    expect(page.locator("#structure-id")).to_have_text(link.inner_text())
    expect(page.locator("#structure-remark")).not_to_have_text("–")
    expect(page.locator("#found")).to_have_text("90 of 90 structures")


def test_nothing_moves_as_charts_are_drawn(page: Page, report: Path) -> None:
    open_report(page, report)
    heights = "Object.keys(figures).map((name) => document.getElementById(`chart-${name}`).offsetHeight)"
    before = page.evaluate(heights)
    assert min(before) >= 200
    page.evaluate("Object.keys(figures).forEach(drawChart)")
    page.wait_for_function("Object.keys(figures).every((name) => document.querySelector(`#chart-${name} .main-svg`))")
    assert page.evaluate(heights) == before


def test_an_address_leads_to_a_structure_and_keys_turn_it(page: Page, report: Path) -> None:
    open_report(page, report, "#structure=full-crystals-00001/0003")
    expect(page.locator("#structure-id")).to_have_text("full-crystals-00001/0003")
    before = page.evaluate("document.querySelector('#scene canvas').toDataURL()")
    page.focus("#scene")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.querySelector('#scene canvas').toDataURL()") != before


@pytest.mark.parametrize(("id", "format"), [("full-molecules-00002/0004", "xyz"), ("full-crystals-00001/0003", "xyz")])
def test_what_is_saved_is_the_structure_with_its_labels(page: Page, report: Path, id: str, format: str) -> None:
    open_report(page, report, f"#structure={id}")
    with page.expect_download() as download:
        page.click(f"#save-{format}")
    atoms: Any = read(io.StringIO(Path(download.value.path()).read_text()), format="extxyz")
    arrays = read_part(report.parent / "parts" / f"{id.split('/')[0]}.h5").arrays
    k = arrays["provenance/id"].tolist().index(id)
    rows = slice(*arrays["structures/atomic_numbers_splits"][k : k + 2])
    moved = atoms.positions - arrays["structures/positions"][rows]
    assert np.array_equal(atoms.numbers, arrays["structures/atomic_numbers"][rows])
    assert np.allclose(moved, moved[0], atol=0.011)
    assert np.allclose(atoms.get_forces(), arrays["labels/forces"][rows], atol=0.001)
    assert atoms.get_potential_energy() == pytest.approx(float(arrays["labels/energy"][k]), abs=1e-5)
    assert atoms.pbc.tolist() == [format == "cif" or "crystals" in id] * 3
    if "crystals" in id:
        with page.expect_download() as download:
            page.click("#save-cif")
        crystal: Any = read(io.StringIO(Path(download.value.path()).read_text()), format="cif")
        assert np.allclose(np.sort(crystal.get_all_distances(mic=True)), np.sort(atoms.get_all_distances(mic=True)), atol=0.02)
    else:
        assert page.locator("#save-cif").is_disabled()


def test_ions_have_their_charge_on_the_page_and_in_what_is_saved(page: Page, tmp_path: Path) -> None:
    write_parts(tmp_path, change=lambda one: replace(one, charge=-1) if one.id.endswith("00001/0003") else one)
    write_page(tmp_path, tmp_path / "report.html")
    open_report(page, tmp_path / "report.html", "#structure=full-molecules-00001/0003")
    expect(page.locator("#structure-values")).to_contain_text("total charge, e-1spin multiplicity, 2 S + 12")
    expect(page.locator("#source-molecules")).to_contain_text("Total charge: −1 in 1, 0 in 59; unpaired electrons in 1.")
    with page.expect_download() as download:
        page.click("#save-xyz")
    atoms: Any = read(io.StringIO(Path(download.value.path()).read_text()), format="extxyz")
    assert (atoms.info["charge"], atoms.info["spin"]) == (-1, 2)


def test_pictures_are_drawn_when_they_are_in_view_by_one_viewer(page: Page, report: Path) -> None:
    page.set_viewport_size({"width": 600, "height": 500})  # few at once: each is drawn by the processor here
    open_report(page, report)
    drawn = page.locator("#pictures img[src^='data:image/png']")
    assert drawn.count() == 0
    page.locator("#pictures li").first.scroll_into_view_if_needed()
    expect(page.locator("#pictures li:nth-child(5) img[src^='data:image/png']")).to_be_visible()
    page.locator("#pictures li").last.scroll_into_view_if_needed()
    expect(page.locator("#pictures li:nth-child(48) img[src^='data:image/png']")).to_be_visible()
    page.click("#more")
    page.locator("#pictures li").last.scroll_into_view_if_needed()
    assert page.locator("#pictures li").count() == 90
    assert page.locator("canvas").count() == 2
    page.locator("#pictures button").nth(3).click()
    assert shown_id(page) == page.evaluate("carried.structures[3].id")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1200, "light")])
def test_it_fits_the_screen_and_has_no_serious_finding(page: Page, report: Path, scheme: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    open_report(page, report)
    for details in page.locator("details.numbers summary").all()[:3]:
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert find_serious(page) == []
    ink = page.evaluate("getComputedStyle(document.querySelector('#chart-sources text')).fill")
    lightness = sum(map(int, re.findall(r"\d+", ink))) / 3
    assert (lightness > 200) == (scheme == "dark")


def test_on_paper_it_is_short_and_loses_no_column(page: Page, report: Path) -> None:
    page.emulate_media(color_scheme="dark")
    open_report(page, report)
    paper = page.pdf(format="A4", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", paper)) <= MOST_SHEETS
    page.set_viewport_size({"width": 710, "height": 1000})
    page.emulate_media(media="print")
    cut = page.evaluate(
        """[...document.querySelectorAll("table, .chart .svg-container")].filter((one) => one.offsetWidth && one.closest("main"))
            .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map((one) => one.textContent.slice(0, 80))"""
    )
    assert cut == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(38, 48, 58)"
    assert not page.locator("nav").is_visible()


def test_what_is_to_be_copied_is_copied(page: Page, report: Path) -> None:
    open_report(page, report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("button[data-copies='copy-citation']")
    expect(page.locator("button[data-copies='copy-citation']")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("@misc{pictured2026,")
