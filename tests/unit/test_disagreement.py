"""How far labels are from those that the same structures had before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.report import disagreement
from distillery.report.disagreement import measure_disagreement
from distillery.report.page.parity_charts import chart_parity
from distillery.structures.structure import Structure
from tests.datasets import write_dataset
from tests.fake_teacher import pair_label
from tests.labelling import mixed

PER_ATOM = {1: 0.5, 6: -2.0, 8: 1.5, 14: 3.0}
"""eV; where two teachers count from."""


def own_label(structure: Structure, *, off: float = 0.0, factor: float = 1.0) -> dict[str, Any]:
    """The fake teacher's label with other zeros, `off` eV/atom, its forces and stress times a factor."""
    label = pair_label(structure)
    shift = sum(PER_ATOM[int(z)] for z in structure.numbers) + off * len(structure)
    own = {"energy": label.energy + shift, "forces": (factor * label.forces.astype(float)).tolist(), "teacher": "elder"}
    return own | ({} if label.stress is None else {"stress": (factor * label.stress).tolist()})


def with_own(structure: Structure, source: str, **how: Any) -> Structure:
    return replace(structure, origin={**structure.origin, "own": own_label(structure, **how), "info": {"source": source}})


def write(path: Path, structures: list[Structure]) -> Path:
    write_dataset(path, structures)
    with h5py.File(path, "r+") as file:
        file.create_group("metadata").attrs.update({"structures_sha256": "a" * 64, "teacher_model": "younger"})
    return path


def test_other_zeros_are_no_disagreement_and_forces_are_compared_by_component(tmp_path: Path) -> None:
    structures = [with_own(s, "finite" if s.system == "molecule" else "bulk", factor=1.25) for s in mixed("t", 30)]
    found = measure_disagreement(write(tmp_path / "d.h5", structures))
    assert found is not None
    assert (found.before, found.after, found.n_moved) == ("elder", "younger", 0)
    assert {name: own.n_structures for name, own in found.sources.items()} == {"finite": 20, "bulk": 10}
    for own, system in ((found.sources["finite"], "molecule"), (found.sources["bulk"], "crystal")):
        forces = np.concatenate([pair_label(s).forces.ravel() for s in structures if s.system == system]).astype(float)
        assert own.energy_worst < 1.0
        assert own.forces == pytest.approx(1000 * 0.25 * np.abs(forces).mean(), rel=1e-4)
        assert own.forces_rms == pytest.approx(1000 * 0.25 * np.sqrt((forces**2).mean()), rel=1e-4)
        assert own.forces_size == pytest.approx(1000 * 1.25 * np.abs(forces).mean(), rel=1e-4)
    assert found.sources["finite"].pressure is None
    stress = [pair_label(s).stress for s in structures if s.system == "crystal"]
    pressures = [abs(0.25 * np.mean(one[:3])) / 0.00624150907 for one in stress if one is not None]
    assert found.sources["bulk"].pressure == pytest.approx(np.mean(pressures), rel=1e-3)


def test_one_structure_that_is_off_is_named(tmp_path: Path) -> None:
    structures = [with_own(s, "all", off=-0.3 if k == 7 else 0.0) for k, s in enumerate(mixed("t", 60))]
    found = measure_disagreement(write(tmp_path / "d.h5", structures))
    assert found is not None
    own = found.sources["all"]
    assert own.energy_worst_id == "t/0007"
    assert own.energy_worst == pytest.approx(300, rel=0.05)
    assert own.energy == pytest.approx(300 / 60, rel=0.3)
    assert own.energy_rms == pytest.approx(300 / np.sqrt(60), rel=0.1)


def test_what_was_moved_or_has_no_labels_is_counted_and_left_out(tmp_path: Path) -> None:
    structures = [with_own(s, "all") for s in mixed("t", 12)]
    for k, key in ((2, "perturb"), (3, "sample")):
        structures[k] = replace(structures[k], origin={**structures[k].origin, key: {"rattle": 0.1, "parent_hash": "h", "frame": 0}})
    structures[4] = replace(structures[4], origin={})
    structures[5] = replace(structures[5], origin={"own": {"energy": 1.0}})
    structures[6] = replace(structures[6], origin={"own": {"energy": 1.0, "forces": [[0.0, 0.0, 0.0]]}})
    found = measure_disagreement(write(tmp_path / "d.h5", structures))
    assert found is not None
    assert found.n_moved == 5
    assert found.sources["all"].n_structures == 7


def test_a_dataset_without_labels_of_before_has_no_disagreement(tmp_path: Path) -> None:
    assert measure_disagreement(write(tmp_path / "d.h5", mixed("t", 6))) is None


def test_pictures_have_points_of_every_source_not_more_than_they_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreement, "MOST_POINTS", 20)
    structures = [with_own(s, "finite" if s.system == "molecule" else "bulk", factor=2.0) for s in mixed("t", 30)]
    found = measure_disagreement(write(tmp_path / "d.h5", structures))
    assert found is not None
    for parity in (found.energies, found.forces):
        assert len(parity.before) == len(parity.after) == len(parity.source) == 20
        assert set(parity.source) == {0, 1}
    assert found.forces.before == pytest.approx([2 * value for value in found.forces.after], abs=1e-4)
    charts = {chart.name: chart.figure for chart in chart_parity(found)}
    assert set(charts) == {"parity-energies", "parity-forces"}
    assert [trace.name for trace in charts["parity-forces"].data] == [None, "finite", "bulk"]
    assert sum(len(trace.x) for trace in charts["parity-forces"].data[1:]) == 20
