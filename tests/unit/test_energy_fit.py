"""Energies against a fit by elements: what is off is found, whatever else is there."""

import numpy as np
import pytest

from distillery.dataset.element_energies import find_scale, fit_elements
from distillery.planning.energy_fit import LEAST_ROWS, find_energy_outliers, flag_by_source, gather_energies
from tests.unit.test_gates import measure_of

ELEMENTS = np.array([-3.0, -5.0])


def make_rows(n: int, spread: float = 0.02, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Energies, eV, and counts of two elements whose atoms have -3 and -5 eV, give or take `spread` eV/atom."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 20, (n, 2))
    return counts @ ELEMENTS + rng.normal(0, spread, n) * counts.sum(axis=1), counts


def test_the_energy_of_each_element_comes_out_and_residuals_are_per_atom() -> None:
    energies, counts = make_rows(40, spread=0.0)
    fit, residuals = fit_elements(energies, counts)
    assert fit == pytest.approx(ELEMENTS, abs=1e-6)
    assert np.abs(residuals).max() < 1e-6
    energies[3] += 2.0 * counts[3].sum()
    fit, residuals = fit_elements(energies, counts)
    assert fit == pytest.approx(ELEMENTS, abs=0.01), "one that is far off hardly moves the fit"
    assert residuals[3] == pytest.approx(2.0, abs=0.02)


def test_at_the_fit_the_weighted_residuals_balance_for_every_element() -> None:
    """Huber's condition: beyond 1.345 deviations a residual pulls no harder, however far off it is."""
    energies, counts = make_rows(60, spread=0.05)
    energies[:12] += 0.4 * counts[:12].sum(axis=1)
    _, residuals = fit_elements(energies, counts)
    most = 1.345 * find_scale(residuals)
    assert (np.abs(residuals) > most).sum() > 12
    shares = counts / counts.sum(axis=1)[:, None]
    assert np.abs(np.clip(residuals, -most, most) @ shares).max() < 1e-4


def test_an_element_that_nothing_has_is_worth_nothing() -> None:
    energies, counts = make_rows(40, spread=0.0)
    fit, _ = fit_elements(energies, np.column_stack([counts, np.zeros(40, int)]))
    assert fit[2] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("residuals", "scale"),
    [([], 1e-3), ([0.0, 0.0], 1e-3), ([1.0, -1.0, 1.0], 1.4826), ([0.1, -0.1, 100.0], 0.14826), ([1e-4, -1e-4], 1e-3)],
)
def test_the_scale_is_14826_medians_and_at_least_a_millielectronvolt(residuals: list[float], scale: float) -> None:
    assert find_scale(np.array(residuals)) == pytest.approx(scale)


@pytest.mark.parametrize(
    ("off", "largest", "is_outlier"),
    [
        (0.45, 5.0, False),  # half an eV/atom may come of bonds, however alike the others are
        (0.55, 5.0, True),
        (0.45, 0.4, True),  # what the recipe allows at most
        (-0.55, 5.0, True),
    ],
)
def test_of_energies_that_are_alike_half_an_electronvolt_an_atom_is_off(off: float, largest: float, is_outlier: bool) -> None:
    energies, counts = make_rows(60, spread=0.01)
    energies[7] += off * counts[7].sum()
    flagged, residuals = flag_by_source(["a"], [60], energies, counts, {"a": largest})
    assert np.flatnonzero(flagged).tolist() == ([7] if is_outlier else [])
    assert residuals[7] == pytest.approx(off, abs=0.05)


@pytest.mark.parametrize(("off", "is_outlier"), [(1.4, False), (3.0, True)])
def test_of_energies_that_are_spread_ten_deviations_are_off(off: float, is_outlier: bool) -> None:
    energies, counts = make_rows(200, spread=0.2)
    energies[7] = counts[7] @ ELEMENTS + off * counts[7].sum()
    flagged, _ = flag_by_source(["a"], [200], energies, counts, {"a": 5.0})
    assert np.flatnonzero(flagged).tolist() == ([7] if is_outlier else [])


def test_every_source_has_a_fit_and_a_limit_of_its_own() -> None:
    (first, counts), (second, others) = make_rows(30), make_rows(30, seed=1)
    second = second + 4.0 * others.sum(axis=1)  # another zero
    flagged, residuals = flag_by_source(
        ["a", "b"], [30, 30], np.concatenate([first, second]), np.concatenate([counts, others]), {"a": 5.0, "b": 0.01}
    )
    assert not flagged[:30].any()
    assert flagged[30:].any()
    assert np.abs(residuals).max() < 0.2


@pytest.mark.parametrize(("n_few", "is_flagged"), [(4, True), (2 * LEAST_ROWS, False)])
def test_a_source_with_too_few_structures_is_judged_by_all_together(n_few: int, is_flagged: bool) -> None:
    (first, counts), (few, others) = make_rows(60), make_rows(n_few, seed=2)
    few = few + 3.0 * others.sum(axis=1)
    flagged, _ = flag_by_source(
        ["a", "b"], [60, n_few], np.concatenate([first, few]), np.concatenate([counts, others]), {"a": 5.0, "b": 5.0}
    )
    assert flagged[60:].all() if is_flagged else not flagged[60:].any()
    assert not flagged[:60].any()


@pytest.mark.parametrize(("n", "is_flagged"), [(2 * LEAST_ROWS - 1, False), (2 * LEAST_ROWS, True)])
def test_where_all_together_are_too_few_none_is_off(n: int, is_flagged: bool) -> None:
    energies, counts = make_rows(n)
    energies[0] += 50.0 * counts[0].sum()
    flagged, residuals = flag_by_source(["a"], [n], energies, counts, {"a": 5.0})
    assert flagged[0] == is_flagged
    assert residuals.any() == is_flagged


def test_outliers_are_named_by_part_and_row_of_it() -> None:
    parts = {name: measure_of(40, seed) for seed, name in enumerate(("p", "q"))}
    assert find_energy_outliers([], {"atoms": 5.0}) == {}
    parts["q"].energies[[5, 9]] += 40.0 * parts["q"].counts[[5, 9]].sum(axis=1)
    p, q = ("p", parts["p"], range(40)), ("q", parts["q"], [3, 5, 7, 9, *range(10, 40)])
    assert find_energy_outliers([p, ("q", parts["q"], ()), q], {"atoms": 5.0}) == {"q": [5, 9]}
    assert find_energy_outliers([p, ("q", parts["q"], [3, 9])], {"atoms": 5.0}) == {"q": [9]}


def test_parts_of_different_elements_are_gathered_under_the_elements_of_all() -> None:
    parts = {"p": measure_of(3, 0, ["H", "O"]), "q": measure_of(3, 1, ["O", "Si"])}
    found = gather_energies([("q", parts["q"], [2, 0]), ("p", parts["p"], [1])])
    energies, counts = found.values, found.counts
    assert counts.shape == (3, 3)
    assert (counts[:2, 0].any(), counts[2, 2]) == (False, 0)
    assert counts.sum(axis=1).tolist() == [parts["q"].counts[2].sum(), parts["q"].counts[0].sum(), parts["p"].counts[1].sum()]
    assert energies.tolist() == [parts["q"].energies[2], parts["q"].energies[0], parts["p"].energies[1]]
    assert gather_energies([]).values.shape == (0,)
