"""What report.html carries to be looked at, and what it says in words and numbers beside its pictures."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.dataset.splits import SIDES, split_dataset
from distillery.planning.made_parts import MadeParts
from distillery.report.page.carried import draw_structures
from distillery.report.page.chart_tables import find_binned_quantiles, tabulate_values, write_value
from distillery.report.page.gallery import Gallery, describe_gallery
from distillery.report.page.page import make_page
from distillery.report.page.properties import Properties
from distillery.report.page.sampling import Sample, SampledStructure
from distillery.report.page.split_sizes import Sides
from distillery.report.page.survey import SAMPLE_SIZE, Survey
from distillery.structures.structure import Structure
from tests.command import Finished
from tests.dataset_folder import RECIPE, write_parts
from tests.labelling import silicon, water


def drawn(structure: Structure, key: float = 0.0, source: str = "s") -> SampledStructure:
    return SampledStructure(key, structure, source, -2.0 * len(structure), 2.5)


def describe(structures: list[SampledStructure], outliers: list[tuple[str, SampledStructure]], limit: int = 10**6) -> Gallery:
    return describe_gallery(structures, outliers, Properties(Survey(["s"], 1), np.zeros(0), []), limit)


def test_outliers_are_carried_first_and_then_as_many_as_fit() -> None:
    waters = [drawn(water(f"a/{k:04d}")) for k in range(10)]
    one = describe(waters[:1], []).n_bytes
    found = describe(waters, [("far", waters[7]), ("farther", drawn(water("b/0000")))], limit=5 * one)
    ids = [(entry["id"], entry["remark"]) for entry in found.data["structures"]]
    assert ids == [("a/0000", ""), ("a/0001", ""), ("a/0007", "far"), ("b/0000", "farther")]
    assert found.n_bytes <= 5 * one < found.n_bytes + one
    assert (found.n_random, found.n_wanted, found.n_carried) == (2, 10, 4)


def test_a_structure_drawn_at_random_that_is_an_outlier_comes_once() -> None:
    waters = [drawn(water(f"a/{k:04d}")) for k in range(3)]
    found = describe(waters, [("far", waters[1])])
    assert [(entry["id"], entry["remark"]) for entry in found.data["structures"]] == [("a/0000", ""), ("a/0001", "far"), ("a/0002", "")]
    assert found.n_random == 3


def test_a_rare_source_has_five_among_those_drawn() -> None:
    survey = Survey(["rare", "frequent"], 1)
    survey.sources["frequent"].sample = Sample(200, [drawn(water(f"f/{k:04d}"), k / 1000, "frequent") for k in range(200)])
    survey.sources["rare"].sample = Sample(200, [drawn(water(f"r/{k:04d}"), 0.9 + k / 1000, "rare") for k in range(8)])
    found = draw_structures(survey, 50)
    assert [one.source for one in found].count("rare") == 5
    assert len(found) == 50
    assert found == sorted(found, key=lambda one: one.key)
    assert draw_structures(survey, 0) == []


def test_what_is_measured_does_not_grow_with_what_is_carried() -> None:
    survey = Survey(["s"], 1, 1000)
    survey.sources["s"].sample.drawn = [drawn(water(f"f/{k:04d}"), k / 1000) for k in range(1000)]
    assert survey.sources["s"].sample.size == 1000
    assert len(survey.sources["s"].measured) == SAMPLE_SIZE
    assert Survey(["s"], 1, 10).sources["s"].sample.size == SAMPLE_SIZE


def test_numbers_of_a_structure_have_no_meaning_where_it_has_none() -> None:
    crystal, molecule = describe([drawn(silicon("a/0000")), drawn(water("a/0001"))], []).data["structures"]
    assert crystal["values"]["volume"] == pytest.approx(5.43**3 / 8, rel=1e-3)
    assert crystal["values"]["n_atoms"] == 8
    assert crystal["values"]["energy"] == -2.0
    assert "volume" not in molecule["values"]
    assert molecule["values"]["contact"] == pytest.approx(0.969 / (0.66 + 0.31), abs=0.01)


def test_pressures_of_slabs_and_of_bulk_are_two_axes() -> None:
    survey = Survey(["s"], 1)
    survey.ids.append(np.array(["a/0000", "a/0001"], object))
    survey.pressure.append(np.array([3.0, -4.0], np.float32))
    survey.shear.append(np.array([1.0, 2.0], np.float32))
    survey.is_slab.append(np.array([False, True]))
    properties = Properties(survey, np.array([0.25, -0.5]), ["a/0000", "a/0001"])
    bulk, slab = (properties.describe(drawn(silicon(f"a/{k:04d}"))) for k in (0, 1))
    assert (bulk["pressure"], bulk["shear"], bulk["residual"]) == (3.0, 1.0, 0.25)
    assert (slab["slab_pressure"], slab["residual"]) == (-4.0, -0.5)
    assert "slab_pressure" not in bulk
    assert not {"pressure", "shear"} & slab.keys()


def test_only_axes_with_two_values_are_offered() -> None:
    of_molecules = describe([drawn(water(f"a/{k:04d}")) for k in range(2)], []).data["axes"]
    assert [axis["key"] for axis in of_molecules] == ["n_atoms", "energy", "force", "contact"]
    assert [axis["title"] for axis in of_molecules if axis["log"]] == ["largest force, eV/Å"]


def test_sides_are_those_that_an_export_makes(quickstart: Finished) -> None:
    split, sides = split_dataset(quickstart.dataset), Sides()
    for path in sorted((quickstart.dataset.parent / "parts").glob("*.h5")):
        part = read_part(path)
        sides.add(part.receipt.record.source, part.arrays)
    rows = sides.list_rows(["molecules", "crystals", "clusters", "surfaces"])
    left_out = sum(row["structures"] for row in rows) - sum(map(len, split.indices.values()))
    assert [row["side"] for row in rows] == list(SIDES)
    assert 0 <= left_out <= 8  # surplus lies in parts alone: of three frames of a proposal two at most, in four sources
    for row in rows:
        assert 0 <= row["structures"] - len(split.indices[row["side"]]) <= left_out
        assert row["structures"] == sum(row["by_source"].values())
        assert row["share"] == pytest.approx(row["structures"] / sum(other["structures"] for other in rows))
    assert sum(row["parents"] for row in rows) >= sum(split.n_parents.values())


def test_a_table_tells_how_values_of_every_source_are_spread() -> None:
    values = np.concatenate([np.arange(101.0), [7.0, np.nan]])
    table = tabulate_values(values, np.array([0] * 101 + [1, 1], np.int16), ["many", "one", "none"], "eV/Å")
    assert table.heads[-1] == "highest, eV/Å"
    assert table.rows == (("many", "101", "0", "5", "50", "95", "100"), ("one", "1", "7", "7", "7", "7", "7"))


def test_quantiles_of_what_is_binned() -> None:
    assert find_binned_quantiles(np.array([5, 45, 45, 5]), np.array([1.0, 2.0, 3.0, 4.0])) == [1.0, 2.0, 3.0]
    assert find_binned_quantiles(np.array([0, 0, 100, 0]), np.array([1.0, 2.0, 3.0, 4.0])) == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (float("nan"), "–"), (12345.0, "12,345"), (0.123456, "0.1235"), (-0.5, "-0.5")])
def test_values_are_written_for_reading(value: float | None, text: str) -> None:
    assert write_value(value) == text


class Outline(HTMLParser):
    """Which elements a page has, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    def relabel(structure: Structure, label: Label) -> Label:
        return replace(label, forces=label.forces * 30) if structure.id == "full-crystals-00001/0003" else label

    return make_page(write_parts(tmp_path_factory.mktemp("dataset"), relabel=relabel), RECIPE)[0]


def test_every_chart_is_named_and_has_its_numbers_in_a_table(html: str) -> None:
    elements = Outline(html).elements
    charts = [attributes for _, attributes in elements if str(attributes.get("id", "")).startswith("chart-")]
    tables = [attributes["aria-label"] for _, attributes in elements if str(attributes.get("aria-label", "")).startswith("numbers of ")]
    assert len(charts) >= 16
    assert len(tables) == len(charts)
    assert all(chart["role"] == "img" and str(chart["aria-label"]).startswith("Chart: ") for chart in charts)


def test_every_source_has_its_own_part_of_the_page(html: str) -> None:
    molecules, crystals = html.split('id="source-molecules"')[1].split('id="source-crystals"')
    crystals = crystals.split("</section>")[0]
    assert "molecule by rdkit; 60 of 60 structures" in molecules
    assert "crystal by pymatgen; 30 of 30 structures" in crystals
    assert "GPa" in crystals
    assert "GPa" not in molecules.split("Outliers")[0]
    assert "eV/atom" in molecules
    assert "Si 100.0 %" in crystals
    assert "curation: bare_carbon: 4" in molecules
    assert "full-crystals-00001/0003" in crystals
    assert "full-crystals" not in molecules


def test_the_page_says_how_many_structures_it_carries(tmp_path: Path) -> None:
    made_parts: MadeParts = write_parts(tmp_path)
    few, _ = make_page(made_parts, RECIPE, 12)
    carried = few.split("This page carries ")[1].split("Click")[0]
    assert "of the 90 structures" in carried
    assert ": 12 drawn at random" in carried
    every, _ = make_page(made_parts, RECIPE, 90)
    assert "This page carries all 90 structures (" in every


def test_energies_are_those_of_an_atom_wherever_they_are_compared(html: str) -> None:
    assert "energy, eV/atom" in html
    assert "energy, eV<" not in html


def test_a_surface_is_periodic_as_it_is() -> None:
    slab = replace(silicon("a/0000"), pbc=(True, True, False), system="surface")
    (entry,) = describe([drawn(slab)], []).data["structures"]
    assert entry["pbc"] == [True, True, False]
