"""The page report.html: made from parts alone, whole, safe, and readable without a network."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs_version

from cli.report import report
from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.errors import NotFound
from distillery.planning.gates import Verdict
from distillery.planning.made_parts import MadeParts
from distillery.report.page import rendering
from distillery.report.page.chart import find_edges, find_size_edges
from distillery.report.page.gallery import describe_gallery
from distillery.report.page.gate_table import list_rows, write_number
from distillery.report.page.generation_charts import write_duration
from distillery.report.page.page import make_page, write_page
from distillery.report.page.properties import Properties
from distillery.report.page.sampling import Sample, SampledStructure, draw_keys, merge_samples
from distillery.report.page.survey import Survey
from distillery.structures.structure import Structure
from tests.dataset_folder import RECIPE, with_origin, write_parts
from tests.labelling import silicon, water

ATTACK = "</script><script>alert(1)</script><img src=http://example.org/a.png>"
SECTIONS = {"gates", "composition", "sources", "labels", "geometry", "diversity", "making", "outliers", "gallery", "use", "card"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: set[str] = set()
        self.places: set[str] = set()
        self.loads: list[str] = []
        self.scripts: list[str] = []
        self.data: dict[str, str] = {}
        self.styles: list[str] = []
        self.texts: list[str] = []
        self.policy = ""
        self._open = self._data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self._open = tag
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in LOADING and not str(value).startswith("#")]
        if tag == "section":
            self.sections.add(str(known["id"]))
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(known["content"])
        if tag in {"script", "style"}:
            (self.scripts if tag == "script" else self.styles).append("")
        self._data = str(known["id"]) if tag == "script" and "id" in known else ""
        if "id" in known:
            self.places.add(str(known["id"]))
        assert not any(name.startswith("on") for name in known), f"{tag} has a handler: {known}"

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in {"script", "style"}:
            (self.scripts if self._open == "script" else self.styles)[-1] += data
            if self._data:
                self.data[self._data] = self.scripts[-1]
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data["figures"])
        return found

    @property
    def structures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data["structures"])
        return found

    @property
    def own(self) -> str:
        """What is ours of styles and scripts."""
        return "".join(self.styles) + self.scripts[-1]


def page_of(made_parts: MadeParts, recipe: str = RECIPE) -> Page:
    return Page(make_page(made_parts, recipe)[0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> MadeParts:
    """A complete dataset in which one structure has a huge force, and all crystals came from a benchmark."""

    def relabel(structure: Structure, label: Label) -> Label:
        return replace(label, forces=label.forces * 1000) if structure.id.endswith("molecules-00001/0007") else label

    def change(structure: Structure) -> Structure:
        return structure if structure.system == "molecule" else with_origin({"benchmark": "matbench_x"})(structure)

    return write_parts(tmp_path_factory.mktemp("finished"), relabel=relabel, change=change)


@pytest.fixture(scope="module")
def page(finished: MadeParts) -> Page:
    return page_of(finished)


def count_bars(figure: dict[str, Any]) -> int:
    return sum(int(_decode(trace["y"]).sum()) for trace in figure["data"])


def _decode(values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.array(values)


def test_every_section_is_there_and_every_chart_has_its_place(page: Page) -> None:
    assert page.sections == SECTIONS
    assert {f"chart-{name}" for name in page.figures} <= page.places
    assert len(page.figures) >= 16


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    assert page.loads == []
    assert "default-src 'none'" in page.policy
    assert "connect-src" not in page.policy
    assert "http" not in page.policy
    assert not any(word in page.own for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "import("))


def test_the_code_of_the_charts_is_of_the_release_that_plotly_brings() -> None:
    assert f"(cartesian - minified) v{get_plotlyjs_version()}\n" in (Path(rendering.__file__).parent / rendering.PLOTLY).read_text()[:200]


def test_every_chart_is_of_a_kind_that_the_page_can_draw(page: Page) -> None:
    kinds = {trace["type"] for figure in page.figures.values() for trace in figure["data"]}
    assert {"bar", "scatter"} <= kinds <= {"bar", "scatter", "heatmap"}


def test_axes_have_titles_with_units(page: Page) -> None:
    titles = {name: [figure["layout"][a]["title"]["text"] for a in ("xaxis", "yaxis")] for name, figure in page.figures.items()}
    assert titles["energy"] == ["energy, eV/atom", "structures"]
    assert titles["forces"][0] == "force on an atom, eV/Å"
    assert titles["pressure"][0] == "pressure, GPa"
    assert titles["lengths"] == ["sum of covalent radii, Å", "bond length, Å"]
    assert titles["entropy"][1].endswith("bits")
    assert titles["environments"][0].endswith("nats")
    assert all(any(pair) for pair in titles.values())


def test_the_ceiling_of_a_source_without_hydrogen_is_that_of_the_other_elements(page: Page) -> None:
    ceilings = page.figures["entropy"]["data"][2]
    of = dict(zip(ceilings["x"], _decode(ceilings["y"]).tolist(), strict=True))
    assert of["crystals"] == pytest.approx(np.log2(3), abs=1e-4)
    assert of["molecules"] < of["crystals"]


def test_histograms_count_every_structure(page: Page) -> None:
    assert count_bars(page.figures["sizes"]) == 90
    assert count_bars(page.figures["energy"]) + 2 * 90 * 0.001 >= 88
    assert count_bars(page.figures["pressure"]) >= 28


def test_the_same_parts_give_the_same_text(finished: MadeParts) -> None:
    assert make_page(MadeParts(finished.folder, finished.recipe), RECIPE) == make_page(finished, RECIPE)


def test_the_outlier_is_named_and_is_in_the_gallery(page: Page) -> None:
    title, members = "Largest force", page.structures["structures"]
    assert page.text.index(title) < page.text.index("full-molecules-00001/0007", page.text.index(title))
    (outlier,) = [m for m in members if m["id"] == "full-molecules-00001/0007"]
    assert "largest force: " in outlier["remark"]


def test_every_structure_is_carried_once_and_says_what_it_is_an_outlier_by(page: Page) -> None:
    carried = page.structures["structures"]
    assert len({one["id"] for one in carried}) == len(carried) == 90
    named = {one["id"]: one["remark"] for one in carried if one["remark"]}
    for id, remark in named.items():
        assert id in page.text.split("Outliers The structures at the far ends")[1]
        assert all(re.fullmatch(r"[a-z ]+: [+-]?[\d.]+( eV/atom| eV/Å| GPa| of the radii)", reason) for reason in remark.split("; "))
    assert 8 <= len(named) < 90


def test_the_page_says_how_to_load_and_to_cite(page: Page) -> None:
    assert "distillery.read_dataset" in page.text
    assert "@misc{pictured2026, title = {pictured: 90 structures, labelled by fake (fake==1)}" in page.text


def test_benchmark_structures_are_counted_as_contamination(page: Page) -> None:
    assert "30 of the structures were taken from public benchmarks" in page.text
    assert "matbench_x 30" in page.text


def test_the_card_names_versions_hashes_and_licences(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path, service_licence="MIT", service_weights_sha256="d" * 64)
    card = page_of(made_parts).text.split("Dataset card")[-1]
    assert all(text in card for text in ("fake==1", "f" * 64, "d" * 64, "MIT", "numpy 2.0", made_parts.recipe.sha256))


def test_a_failed_gate_comes_first_and_makes_it_no_go(tmp_path: Path) -> None:
    found = page_of(write_parts(tmp_path, generate_seconds=1e6))
    assert "NO-GO" in found.text
    table = found.text.split("Required")[1]
    assert table.index("✗ failed generation seconds") < table.index("✓ passed")


def test_an_unfinished_dataset_shows_the_parts_there_are(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path, only=lambda shard: shard.name.endswith("00001"))
    found = page_of(made_parts)
    assert "IN PROGRESS" in found.text
    assert "30 of 90 structures are there" in found.text
    assert found.sections == SECTIONS
    assert count_bars(found.figures["sizes"]) == 30


def test_a_dataset_without_parts_has_a_page_without_charts(tmp_path: Path) -> None:
    found = page_of(write_parts(tmp_path, only=lambda shard: False))
    assert "0 of 90 structures are there" in found.text
    assert found.sections == {"gates", "making", "use", "card"}
    assert not {"figures", "structures"} & found.data.keys()


def test_what_files_say_can_not_break_out_of_the_page(tmp_path: Path) -> None:
    text = RECIPE + "# " + ATTACK + "\n"
    change = with_origin({"smiles": ATTACK, "benchmark": ATTACK})
    made_parts = write_parts(
        tmp_path, text, change=change, service_rejected={ATTACK: 3}, service_licence=ATTACK, service_versions={ATTACK: ATTACK}
    )
    html, _ = make_page(made_parts, text)
    found = Page(html)
    assert "<script>alert" not in html
    assert "<img" not in html[: html.index("<script>")]
    assert found.loads == []
    assert len(found.scripts) == 5
    assert json.loads(found.structures["structures"][0]["origin"])["smiles"] == ATTACK
    assert any("&lt;/script&gt;" in label for trace in found.figures["rejections"]["data"] for label in trace["y"])


def test_the_page_holds_bins_and_not_points(page: Page) -> None:
    assert len(page.data["figures"]) < 400_000


def test_write_page_writes_where_it_is_told_alone(finished: MadeParts, tmp_path: Path) -> None:
    write_page(finished.folder, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert not (finished.folder / "report.html").exists()


def test_report_of_no_dataset_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing.*recipe\.yaml"):
        report(Path("nothing"), tmp_path, None)


def drawn(structure: Structure, key: float = 0.0) -> SampledStructure:
    return SampledStructure(key, structure, "s", -1.0, 2.0)


def show(*structures: SampledStructure) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = describe_gallery(structures, [], Properties(Survey(["s"], 1), np.zeros(0), [])).data["structures"]
    return found


def unpack(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), "<i2")


@pytest.mark.parametrize(("make", "n_bonds"), [(water, 2), (silicon, 16)])
def test_the_gallery_keeps_positions_and_bonds(make: Callable[[str], Structure], n_bonds: int) -> None:
    structure = make("a/0000")
    shown = show(drawn(structure))[0]
    positions = unpack(shown["positions"]).reshape(-1, 3) * shown["scale"]
    assert np.allclose(positions - positions[0], structure.positions - structure.positions[0], atol=0.011)
    bonds = unpack(shown["bonds"]).reshape(-1, 5)
    assert len(bonds) == n_bonds
    i, j, vectors = bonds[:, 0], bonds[:, 1], bonds[:, 2:] * shown["scale"]
    images = (vectors - (structure.positions[j] - structure.positions[i])) @ np.linalg.pinv(structure.cell)
    assert np.allclose(images, np.round(images), atol=0.01)


def test_the_gallery_has_forces_where_they_are_known() -> None:
    forces = np.array([[0.0, 0.0, -3.25], [0.0, 1.5, 1.625], [0.0, -1.5, 1.625]], np.float32)
    known = replace(drawn(water("a/0000")), forces=forces)
    shown, without = show(known, drawn(water("a/0001")))
    assert np.allclose(unpack(shown["forces"]).reshape(-1, 3) * shown["force_scale"], forces, atol=1e-3)
    assert "forces" not in without


def test_pressures_of_slabs_are_apart_from_those_of_bulk() -> None:
    survey = Survey(["one"], 1)
    survey.pressure.append(np.array([1.0, 2.0, np.nan], np.float32))
    survey.is_slab.append(np.array([False, True, False]))
    bulk, slabs = survey.split_slabs("pressure")
    assert np.array_equal(bulk, [1.0, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(slabs, [np.nan, 2.0, np.nan], equal_nan=True)


def test_a_huge_structure_is_scaled_to_fit() -> None:
    structure = replace(water("a/0000"), positions=water("a/0000").positions * 400)
    shown = show(drawn(structure))[0]
    positions = unpack(shown["positions"]).reshape(-1, 3) * shown["scale"]
    assert np.allclose(positions - positions[0], structure.positions - structure.positions[0], atol=0.1)


def test_a_sample_is_the_same_in_whatever_order_parts_come(finished: MadeParts) -> None:
    names = [shard.name for shard in finished.make_plan().shards()]
    drawn_ids = []
    for order in (names, names[::-1]):
        sample = Sample(20)
        for name in order:
            arrays = read_part(finished.folder / "parts" / f"{name}.h5").arrays
            sample.offer(arrays, draw_keys(3, name, len(arrays["provenance/id"])))
        drawn_ids.append([one.structure.id for one in sample.drawn])
    assert drawn_ids[0] == drawn_ids[1]
    assert len(set(drawn_ids[0])) == 20
    assert len({id.split("/")[0] for id in drawn_ids[0]}) > 3


def test_samples_are_merged_by_their_keys() -> None:
    one, other = ([drawn(water(f"{name}/{k}"), k / 10) for k in range(first, 10, 2)] for name, first in (("a", 0), ("b", 1)))
    assert [d.key for d in merge_samples([one, other], 5)] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_edges_leave_off_tails_and_stand_a_single_value() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 5000), [1e6, np.nan]])
    edges = find_edges(values)
    assert edges[-1] < 10
    assert np.histogram(values[np.isfinite(values)], edges)[0].sum() > 4950
    assert np.histogram(np.full(5, 3.0), find_edges(np.full(5, 3.0)))[0].sum() == 5
    assert find_edges(np.array([np.nan])).size


@pytest.mark.parametrize(("low", "high"), [(3, 3), (1, 60), (10, 500), (1, 20_000)])
def test_size_bins_are_whole_and_hold_both_ends(low: int, high: int) -> None:
    edges = find_size_edges(np.array([low, high], np.int32))
    assert np.histogram([low, high], edges)[0].sum() == 2
    assert len(edges) < 90
    assert np.allclose(edges % 1, 0.5)


def verdict(scope: str, value: float | None, passed: bool) -> Verdict:
    return Verdict("teacher_success", scope, value, ">=", 0.95, 1.0, True, passed, "meaning")


def test_passed_sources_are_one_row_and_failed_ones_are_not() -> None:
    rows = list_rows([verdict("all", 0.97, True), verdict("a", 0.96, True), verdict("b", 1.0, True), verdict("c", None, False)])
    assert [(r.scope, r.value, r.passed) for r in rows] == [
        ("c", "–", False),
        ("all", "0.97", True),
        ("each of 2 sources", "0.96 – 1", True),
    ]
    assert rows[0].wanted == "≥ 0.95"


@pytest.mark.parametrize(
    ("value", "threshold", "texts"),
    [
        (119_997 / 120_000, 1.0, ("0.99997", "≥ 1")),
        (3.0698, 3.07, ("3.0698", "≥ 3.07")),
        (3.07, 3.07000001, ("3.07", "≥ 3.07000001")),
        (0.1 + 0.2, 0.3, ("0.30000000000000004", "≥ 0.29999999999999999")),
        (9999.999, 10_000.0, ("9,999.999", "≥ 10,000")),
        (0.91234, 0.95, ("0.9123", "≥ 0.95")),
        (0.95, 0.95, ("0.95", "≥ 0.95")),
    ],
)
def test_a_value_that_is_not_its_threshold_does_not_read_like_it(value: float, threshold: float, texts: tuple[str, str]) -> None:
    (row,) = list_rows([replace(verdict("all", value, value >= threshold), threshold=threshold)])
    assert (row.value, row.wanted) == texts


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (120000, "120,000"), (0.123456, "0.1235"), (12345.67, "12,345.7"), (0.0, "0")])
def test_numbers_are_written_for_reading(value: float | None, text: str) -> None:
    assert write_number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.21 s"), (600, "10 min"), (36000, "10 h")])
def test_durations_are_written_for_reading(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text
