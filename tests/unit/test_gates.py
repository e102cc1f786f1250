"""Gates can fail: each of them, on a set made to fail it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from numpy.typing import NDArray

from distillery.dataset.layout import Label, to_arrays
from distillery.dataset.parts import Part
from distillery.planning.findings import Finding, _describe_net_faults
from distillery.planning.gates import RULES, Rule, Verdict, find_hopeless, find_rules, is_go, judge, judge_finding, sum_up
from distillery.planning.measures import Measures, gather_measures
from distillery.planning.part_measures import PartMeasures, measure_part
from distillery.planning.statistics import entropy_bits, entropy_ceiling
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.report.page.gate_table import describe_failed
from distillery.schema.label import Law, PhysicsCheck, Receipt, Reject, ShardRecord, TeacherCard
from distillery.schema.report import GateRecord
from distillery.structures.structure import Structure, from_ase, numbers_of

N = 60


LAWS: tuple[Law, ...] = ("repeat", "forces", "stress")
WITH_ENTROPY = "gates: {element_entropy: {threshold: 3.07, required: true}}\n"
"""As the plan's own recipes say."""


def recipe(extra: str = "") -> Recipe:
    return parse_recipe(
        f"name: judged\nseed: 1\nteacher: fake\nsources:\n  atoms: {{service: fake, system: cluster, count: {N}}}\n" + extra
    )


def place_in_a_chain(n: int, seed: int) -> NDArray[np.float64]:
    """Positions of n atoms, each 1.6 to 2.8 Å farther along a line than the one before, off it by up to 1 Å: no two environments alike."""
    rng = np.random.default_rng(seed)
    along = np.cumsum(rng.uniform(1.6, 2.8, n))
    return np.column_stack([along, rng.uniform(-1, 1, (n, 2))])


def structures(elements: list[str], sizes: list[int], rng: np.random.Generator) -> list[Structure]:
    return [
        Structure(
            f"full-atoms-00000/{i:04d}",
            numbers_of([str(s) for s in rng.choice(elements, sizes[i % len(sizes)])]),
            place_in_a_chain(sizes[i % len(sizes)], i),
            system="cluster",
        )
        for i in range(N)
    ]


def part(
    made: list[Structure],
    *,
    rejected: int = 0,
    energy: float = -3.0,
    seconds: float = 1.0,
    generated: int | None = None,
    twins: int = 0,
    broken: Sequence[str] = (),
    laws: Sequence[Law] = LAWS,
) -> Part:
    labels = [Label(energy * len(s) + 0.01 * i, np.full((len(s), 3), 0.1, np.float32), None) for i, s in enumerate(made)]
    hashes = [f"{i:032x}" for i in range(len(made))]
    record = ShardRecord(
        recipe_sha256="0" * 64,
        stage="full",
        source="atoms",
        service="fake",
        system="cluster",
        seed=1,
        start=0,
        round=0,
        requested=N,
        generated=N if generated is None else generated,
        generate_seconds=seconds,
        service_version="1",
        rejected=tuple(Reject(id=f"t{i}", reason="duplicate", detail="", stage="curation") for i in range(twins)),
    )
    teacher = TeacherCard(name="fake", version="1", weights_sha256="0" * 64, device="cpu", elements=("H",))
    receipt = Receipt(
        dataset="judged",
        part="full-atoms-00000",
        record=record,
        teacher=teacher,
        n_structures=len(made),
        n_atoms=sum(map(len, made)),
        rejected=tuple(Reject(id=f"r{i}", reason="not_finite_label", detail="the energy is nan", stage="label") for i in range(rejected)),
        label_seconds=1.0,
        physics=tuple(PhysicsCheck(law=law, structure="t", value=1.0, wanted="", passed=law not in broken, detail=law) for law in laws),
        structures_sha256="0" * 64,
        content_sha256="0" * 64,
        created="2026-01-01T00:00:00Z",
    )
    return Part(receipt, to_arrays(made, labels, hashes, source="atoms", service="fake", shard="full-atoms-00000"), [])


def verdicts(made: Part, extra: str = "") -> dict[tuple[str, str], Verdict]:
    rules = recipe(extra)
    return {(v.gate, v.scope): v for v in judge(measure(made), rules)}


def measure(made: Part, kept: Sequence[int] | None = None, sources: Iterable[str] = ("atoms",)) -> Measures:
    measures = measure_part(made, 0)
    return gather_measures([(measures, range(measures.labelled) if kept is None else kept)], sources)


def measure_of(n: int, seed: int, elements: Sequence[str] = ("H", "O")) -> PartMeasures:
    """A part of n structures of these elements with energies of -3 eV an atom, about."""
    return measure_part(part(structures(list(elements), [10, 20, 15], np.random.default_rng(seed))[:n]), 0)


def diverse() -> list[Structure]:
    return structures(list(recipe().elements), [40, 150, 250], np.random.default_rng(0))


def failed(found: dict[tuple[str, str], Verdict]) -> set[str]:
    return {v.gate for v in found.values() if v.required and not v.passed}


def test_a_diverse_set_is_go() -> None:
    found = verdicts(part(diverse()))
    assert failed(found) == set()
    assert is_go(list(found.values()))
    assert found["element_entropy", "all"].ceiling == pytest.approx(np.log2(9))


def test_a_set_without_hydrogens_is_no_go() -> None:
    made = structures(["C", "N", "O", "F", "Si", "P", "S", "Cl"], [40, 150], np.random.default_rng(0))
    assert failed(verdicts(part(made))) == {"element_coverage"}
    assert failed(verdicts(part(made), WITH_ENTROPY)) == {"element_coverage", "element_entropy"}


def test_a_set_of_one_composition_and_size_is_no_go() -> None:
    made = structures(["Si"], [50], np.random.default_rng(0))
    assert {"distinct_sizes", "distinct_compositions", "element_entropy", "element_coverage"} <= failed(verdicts(part(made), WITH_ENTROPY))


def test_multiples_of_one_formula_are_one_composition() -> None:
    made = structures(["Si"], [50, 60], np.random.default_rng(0))
    found = verdicts(part(made))
    assert found["distinct_sizes", "atoms"].passed
    assert not found["distinct_compositions", "atoms"].passed


def test_a_broken_teacher_is_no_go() -> None:
    assert "teacher_success" in failed(verdicts(part(diverse(), rejected=4)))
    assert failed(verdicts(part(diverse(), rejected=2))) == set()
    assert verdicts(part(diverse(), rejected=4))["teacher_success", "atoms"].detail == "r0: not_finite_label: the energy is nan"
    nothing = failed(verdicts(part([], rejected=N)))
    assert {"teacher_success", "completeness", "element_coverage"} <= nothing


def test_slow_generation_duplicates_and_a_short_count_are_no_go() -> None:
    assert failed(verdicts(part(diverse(), seconds=10.0 * N))) == {"generation_seconds"}
    assert failed(verdicts(part(diverse(), twins=1))) == {"duplicates"}
    assert "completeness" in failed(verdicts(part(diverse()[:-1])))


def test_a_source_that_owes_nothing_is_not_judged() -> None:
    rules = parse_recipe(
        f"name: judged\nseed: 1\nteacher: fake\ngenerative_fraction: 0\nsources:\n"
        f"  atoms: {{service: fake, system: cluster, count: {N - 1}}}\n"
        f"  model: {{service: model, system: cluster, count: 1, generative: true}}\n"
    )
    assert rules.counts() == {"atoms": N, "model": 0}
    found = judge(measure(part(diverse()), sources=rules.sources), rules)
    assert is_go(found)
    assert "model" not in {verdict.scope for verdict in found}


def test_left_out_structures_are_not_measured() -> None:
    own = measure(part(diverse()), range(20, N)).sources["atoms"]
    assert own.kept == 40
    assert own.labelled == 60


def test_parts_of_different_elements_are_counted_under_their_own() -> None:
    made = [
        [Structure("a/0", numbers_of(symbols), np.arange(6.0).reshape(2, 3) * 3, system="cluster")] for symbols in (["Si", "O"], ["H", "O"])
    ]
    measures = gather_measures([(measure_part(part(structures), 0), [0]) for structures in made], ("atoms",))
    assert measures.numbers.tolist() == [1, 8, 14]
    assert np.concatenate(measures.counts).tolist() == [[0, 1, 1], [1, 1, 0]]
    own = measures.sources["atoms"]
    assert {z: own.atoms_of[z] for z in np.flatnonzero(own.atoms_of)} == {1: 1, 8: 2, 14: 1}
    assert own.structures_with[[1, 8, 14]].tolist() == [1, 2, 1]


def test_a_recipe_may_change_threshold_and_requirement() -> None:
    extra = "gates: {element_entropy: {threshold: 3.2, required: true}, duplicates: {required: false}}\n"
    found = verdicts(part(diverse(), twins=10), extra)
    assert failed(found) == {"element_entropy"}
    assert not found["duplicates", "all"].passed


def test_advisory_gates_notice_outliers_strong_forces_and_short_contacts() -> None:
    made = part(diverse())
    made.arrays["labels/energy"][3] += 500.0
    made.arrays["labels/forces"][::40] = 1e3
    positions = made.arrays["structures/positions"]
    positions *= 0.1
    found = verdicts(made)
    for gate in ("energy_outliers", "bond_lengths"):
        assert not found[gate, "all"].passed
        assert not found[gate, "all"].required


def test_one_label_far_out_is_no_go_however_many_are_sound() -> None:
    for column, row, value, gate in (("energy", 3, 500.0 * 40, "energy_fit"), ("forces", 40, 60.0, "largest_force")):
        made = part(diverse())
        made.arrays[f"labels/{column}"][row] += value
        assert failed(verdicts(made)) == {gate}
    made = part(diverse())
    made.arrays["labels/stress"][7] = -0.7
    assert failed(verdicts(made)) == {"largest_pressure"}
    assert verdicts(made)["largest_pressure", "all"].detail == made.arrays["provenance/id"][7]
    made.arrays["labels/stress"][:] = 0
    assert verdicts(made)["largest_pressure", "all"].detail == "", "no structure has any"
    assert failed(verdicts(made, "limits: {pressure: 120}\n")) == set()


def test_what_a_gate_says_names_the_structure_the_elements_or_the_source() -> None:
    made = part(diverse())
    made.arrays["labels/forces"][40] += 60.0
    (row,) = np.flatnonzero(np.diff(made.arrays["labels/forces_splits"].clip(max=41)) > 0)[-1:]
    found = verdicts(made)
    assert found["largest_force", "all"].detail == made.arrays["provenance/id"][row]
    few = structures(["C", "N", "O", "F", "Si", "P", "S"], [40, 150], np.random.default_rng(0))
    assert verdicts(part(few))["element_coverage", "all"].detail == "no structure has H Cl"
    twice = verdicts(part(diverse(), twins=7))["duplicates", "all"]
    assert (twice.passed, twice.detail) == (False, "atoms 7")
    short = judge(measure(made, range(5)), recipe())[0]
    assert (short.gate, short.detail) == ("completeness", f"atoms has 5 of {N}")
    assert verdicts(part(diverse()))["completeness", "all"].detail == ""


def test_random_energies_do_not_hide_behind_their_own_spread() -> None:
    made = part(diverse())
    made.arrays["labels/energy"][:] = np.random.default_rng(0).normal(scale=3000.0, size=N)
    assert failed(verdicts(made)) == {"energy_fit"}


def test_a_broken_law_of_physics_is_no_go_and_named() -> None:
    found = verdicts(part(diverse(), broken=["stress", "forces"]))
    assert failed(found) == {"teacher_physics"}
    assert found["teacher_physics", "all"].value == 2
    assert found["teacher_physics", "atoms"].detail == "forces; stress"
    assert "forces; stress" in describe_failed([GateRecord.model_validate(found["teacher_physics", "all"].as_json())])[0]


def test_a_teacher_whose_physics_nobody_tried_is_no_go() -> None:
    found = verdicts(part(diverse(), laws=()))
    assert failed(found) == {"teacher_physics"}
    assert found["teacher_physics", "all"].value is None


def test_entropy_and_its_ceilings() -> None:
    assert entropy_bits(np.array([5, 5, 0])) == pytest.approx(1.0)
    assert entropy_bits(np.array([7])) == 0.0
    assert entropy_ceiling(9) == pytest.approx(3.17, abs=0.005)
    for share, ceiling in ((0.3, 2.98), (0.4, 2.77), (0.5, 2.50)):
        assert entropy_ceiling(9, share) == pytest.approx(ceiling, abs=0.005)
    assert entropy_ceiling(9, 0.0) == entropy_ceiling(8) == pytest.approx(entropy_ceiling(9, 1e-9), abs=1e-6)
    assert entropy_ceiling(9, 1.0) == 0.0 == pytest.approx(entropy_ceiling(9, 1 - 1e-9), abs=1e-6)


def test_the_balance_of_the_plans_own_distribution() -> None:
    counts = np.array([50, 50, 12, 8])
    assert counts.std() / counts.mean() == pytest.approx(0.67, abs=0.005)


def test_a_pilot_is_not_judged_by_what_few_structures_cannot_tell() -> None:
    rules = recipe("stages: {pilot: {per_source: 10}, test: {total: 20}}\n")
    required = {stage: {gate for gate, rule in find_rules(rules, stage).items() if rule.required} for stage in rules.stage_names}
    assert required["test"] == required["full"] == {gate for gate, rule in RULES.items() if rule.required}
    assert required["full"] - required["pilot"] == {"element_coverage", "duplicates"}
    asked = recipe("stages: {pilot: {per_source: 10}}\n" + WITH_ENTROPY)
    assert find_rules(asked, "full")["element_entropy"].required


def test_a_stages_own_changes_come_after_those_for_all_stages() -> None:
    rules = recipe(
        "gates: {element_entropy: {threshold: 2.9, required: true}, duplicates: {required: false}}\n"
        "stages: {pilot: {gates: {element_entropy: {required: true}}}, test: {total: 20, gates: {element_entropy: {threshold: 2.5}}}}\n"
    )
    entropy = {stage: find_rules(rules, stage)["element_entropy"] for stage in rules.stage_names}
    assert {stage: (rule.threshold, rule.required) for stage, rule in entropy.items()} == {
        "pilot": (2.9, True),
        "test": (2.5, True),
        "full": (2.9, True),
    }
    assert not any(find_rules(rules, stage)["duplicates"].required for stage in rules.stage_names)


def test_completeness_is_that_of_the_stage() -> None:
    rules = recipe("stages: {pilot: {per_source: 10}}\n")
    measures = measure(part(diverse()[:10]))
    assert sum_up(judge(measures, rules, "pilot")).is_go
    assert "completeness (all)" in sum_up(judge(measures, rules, "full")).reasons


def test_only_time_is_for_good() -> None:
    slow, bare = part(diverse(), seconds=10.0 * N), part(structures(["Si"], [50, 60], np.random.default_rng(0)), seconds=10.0 * N)
    for made, is_for_good in ((slow, True), (bare, False)):
        judgement = sum_up(judge(measure(made), recipe()))
        assert not judgement.is_go
        assert judgement.is_for_good is is_for_good


@pytest.mark.parametrize(
    ("extra", "n_lines"),
    [
        ("", 0),
        ("elements: [H, C, N, O, F, Si, P, S]\n", 0),
        ("elements: [H, C, N, O, F, Si, P, S]\n" + WITH_ENTROPY, 1),
        ("elements: [H, C]\ngates: {element_entropy: {threshold: 1.0}}\n", 0),
        ("elements: [H, C]\ngates: {element_entropy: {required: false}}\n", 0),
        ("elements: [Cu]\nstages: {full: {gates: {element_entropy: {threshold: 0.5, required: true}}}}\n", 1),
    ],
)
def test_what_can_not_come_out_go_is_told_beforehand(extra: str, n_lines: int) -> None:
    assert len(find_hopeless(recipe(extra))) == n_lines


def test_failed_gates_are_told_with_their_numbers() -> None:
    rng = np.random.default_rng(1)
    verdicts = judge(measure(part(structures(["H", "C"], [10, 20, 30], rng))), recipe())
    failed = [GateRecord.model_validate(verdict.as_json()) for verdict in verdicts if verdict.gate == "element_entropy"]
    (line,) = describe_failed(failed)
    assert re.fullmatch(r"element entropy \(all\): (0\.\d+|1), wanted ≥ 2\.853, can reach 3\.17", line), line


def documented_rules() -> dict[str, tuple[str, float, bool]]:
    """Sign, number and whether it is required of every gate in the table of docs/gates.md."""
    text = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([<>]=?) ([\d.]+)[^|]* \| (yes|no) \|", text, re.MULTILINE)
    return {gate: (sign, float(number), required == "yes") for gate, sign, number, required in rows}


def test_the_rules_are_those_of_the_docs_and_of_a_recipe_of_all_elements() -> None:
    rules = find_rules(recipe(), "full")
    found = {gate: (rule.sign, rule.threshold, rule.required) for gate, rule in rules.items()}
    assert found.pop("element_entropy") == (">=", pytest.approx(0.9 * np.log2(9)), False)
    wanted = documented_rules()
    assert wanted.pop("element_entropy") == (">=", 0.9, False)
    assert found == wanted
    assert RULES["element_entropy"].threshold == 3.07


@pytest.mark.parametrize(
    ("sign", "value", "passed"),
    [
        *((">", 4.0, False), (">", 4.1, True), (">=", 4.0, True), (">=", 3.9, False)),
        *(("<", 4.0, False), ("<", 3.9, True), ("<=", 4.0, True), ("<=", 4.1, False)),
        (">", None, False),
        ("<", None, False),
    ],
)
def test_a_value_is_compared_with_its_threshold(sign: str, value: float | None, passed: bool) -> None:
    verdict = judge_finding(Finding("mean_atoms", "all", value, 9.0, "why"), Rule(sign, 4.0, True, "mean"))
    assert verdict == Verdict("mean_atoms", "all", value, sign, 4.0, 9.0, True, passed, "mean", "why")


def values(made: Part, extra: str = "") -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """Every gate's value and the largest one that it can reach."""
    return {key: (verdict.value, verdict.ceiling) for key, verdict in verdicts(made, extra).items()}


BY_SOURCE = ("distinct_sizes", "distinct_compositions", "environment_diversity", "generation_seconds")


def rattled_copies(n: int, displacement: float) -> list[Structure]:
    """One crystal, its atoms displaced at random."""
    rng, atoms = np.random.default_rng(n), bulk("SiC", "zincblende", a=4.36, cubic=True) * (2, 2, 1)
    copies = [from_ase(atoms, id=f"full-atoms-00000/{k:04d}", system="crystal") for k in range(n)]
    return [replace(s, positions=s.positions + rng.normal(scale=displacement, size=s.positions.shape)) for s in copies]


@pytest.mark.parametrize("n", [20, 60])
def test_copies_of_one_crystal_are_not_diverse_however_many(n: int) -> None:
    found = verdicts(part(rattled_copies(n, 0.05)))
    verdict = found["environment_diversity", "atoms"]
    assert (verdict.value is not None and verdict.value < 0.15, verdict.passed, verdict.required) == (True, False, True)


def find_diversity(*parts: tuple[PartMeasures, range]) -> float | None:
    found = judge(gather_measures(parts, ("atoms",)), recipe())
    return next((verdict.value for verdict in found if verdict.gate == "environment_diversity"), None)


def test_diversity_is_that_of_what_is_kept_of_all_parts() -> None:
    copies, others = measure_part(part(rattled_copies(40, 0.02)), 0), measure_part(part(diverse()), 0)
    every, all_of_them = range(40), range(N)
    of_copies, of_others = find_diversity((copies, every)), find_diversity((others, all_of_them))
    of_both = find_diversity((copies, every), (others, all_of_them))
    assert of_copies is not None
    assert of_others is not None
    assert of_both is not None
    assert of_copies < 0.1 < 0.4 < of_others
    assert of_copies < of_both < of_others
    assert find_diversity((copies, every), (others, range(0))) == of_copies


def test_of_a_few_atoms_no_diversity_is_told() -> None:
    assert ("environment_diversity", "atoms") not in verdicts(part(rattled_copies(3, 0.05)))


def test_of_every_gate_there_is_a_value_and_its_ceiling() -> None:
    made = structures(["H", "O"], [10, 20], np.random.default_rng(0))
    found = values(part(made, seconds=30.0, twins=2, rejected=3))
    assert set(found) == {
        *((gate, "all") for gate in RULES if gate not in BY_SOURCE),
        *((gate, "atoms") for gate in (*BY_SOURCE, "teacher_success")),
    }
    for key, wanted in {
        ("completeness", "all"): (1.0, 1.0),
        ("teacher_success", "all"): (60 / 63, 1.0),
        ("teacher_success", "atoms"): (60 / 63, 1.0),
        ("element_coverage", "all"): (2 / 9, 1.0),
        ("distinct_sizes", "atoms"): (2, None),
        ("duplicates", "all"): (2 / 62, None),
        ("generation_seconds", "atoms"): (0.5, None),
        ("mean_atoms", "all"): (15.0, None),
        ("size_variation", "all"): (1 / 3, None),
        ("system_balance", "all"): (np.sqrt(3), None),  # one of four systems
        ("bond_lengths", "all"): (0.0, None),
        ("teacher_physics", "all"): (0, 0.0),
        ("sound_labels", "all"): (1.0, None),
    }.items():
        assert found[key] == tuple(None if x is None else pytest.approx(x) for x in wanted), key
    assert found["element_entropy", "all"] == (pytest.approx(1.0, abs=0.01), pytest.approx(np.log2(9)))


def test_of_nothing_there_is_no_value_and_no_gate_that_needs_one_is_passed() -> None:
    found = verdicts(part([], rejected=0))
    assert {scope for (gate, scope), verdict in found.items() if verdict.value is None and gate != "teacher_success"} == {"all"}
    assert {gate for (gate, _), verdict in found.items() if verdict.value is None} == {
        *("teacher_success", "duplicates", "mean_atoms", "size_variation", "system_balance", "bond_lengths"),
        *("energy_outliers", "largest_force", "largest_pressure", "energy_fit", "sound_labels"),
    }
    assert not any(verdict.passed for verdict in found.values() if verdict.value is None)
    assert found["completeness", "all"].value == 0
    without = verdicts(part([], generated=0, rejected=0))
    assert ("generation_seconds", "atoms") not in without
    assert without["teacher_success", "atoms"].detail == "none was made"


def test_elements_beyond_the_recipes_own_raise_the_ceiling_of_the_entropy() -> None:
    made = structures(["H", "O", "C"], [10, 20], np.random.default_rng(0))
    two = values(part(made), "elements: [H, O]\n")
    assert two["element_entropy", "all"][1] == pytest.approx(np.log2(3))
    assert two["element_coverage", "all"] == (1.0, 1.0)


def test_a_source_of_one_structure_is_not_asked_for_variety() -> None:
    rules = parse_recipe("name: judged\nseed: 1\nteacher: fake\nsources:\n  atoms: {service: fake, system: cluster, count: 1}\n")
    found = {v.gate for v in judge(measure(part(diverse()[:1])), rules)}
    assert not {"distinct_sizes", "distinct_compositions"} & found
    two = parse_recipe("name: judged\nseed: 1\nteacher: fake\nsources:\n  atoms: {service: fake, system: cluster, count: 2}\n")
    assert {"distinct_sizes", "distinct_compositions"} <= {v.gate for v in judge(measure(part(diverse()[:2])), two)}


def refused(reason: str, n: int) -> Part:
    """A part of which the labeller refused so many labels."""
    made = part(diverse())
    rejected = tuple(Reject(id=f"r{i}", reason=reason, detail="", stage="label") for i in range(n))
    return replace(made, receipt=made.receipt.model_copy(update={"rejected": rejected}))


def test_labels_beyond_the_limits_are_unsound() -> None:
    found = verdicts(refused("large_force", 15))
    assert found["sound_labels", "all"].value == pytest.approx(1 - 15 / 75)
    assert not found["sound_labels", "all"].passed


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("net_force", "7 labels with forces that move the whole structure: of another structure?"),
        ("torque", "7 labels with forces that turn the whole structure: of another structure?"),
        ("work", "7 of 67 labels whose energy does not change by the work of forces and stress"),
    ],
)
def test_labels_of_other_structures_break_a_law(reason: str, text: str) -> None:
    found = verdicts(refused(reason, 7))
    assert found["teacher_physics", "all"].detail == found["teacher_physics", "atoms"].detail == text
    assert found["teacher_physics", "atoms"].value == 1
    assert not found["teacher_physics", "all"].passed


@pytest.mark.parametrize(("n", "n_judged", "is_told"), [(1, 10, False), (2, 10, True), (2, 200, True), (5, 1000, False), (6, 1000, True)])
def test_a_label_whose_energy_went_another_way_may_come_once_and_once_in_two_hundred(n: int, n_judged: int, is_told: bool) -> None:
    many = replace(measure(refused("work", n)).sources["atoms"], labelled=n_judged - n)
    assert bool(_describe_net_faults(many)) is is_told


def test_a_finding_names_three_different_faults_and_counts_the_others() -> None:
    made = part(diverse())
    checks = [PhysicsCheck(law="forces", structure="t", value=1.0, wanted="", passed=False, detail=detail) for detail in "abacde"]
    broken = replace(made, receipt=made.receipt.model_copy(update={"physics": tuple(checks)}))
    assert verdicts(broken)["teacher_physics", "all"].detail == "a; b; c (and 2 others)"
    assert verdicts(broken)["teacher_physics", "all"].value == 6
    assert verdicts(broken)["teacher_physics", "atoms"].ceiling == 0.0
    three = replace(made, receipt=made.receipt.model_copy(update={"physics": tuple(checks[:4])}))
    assert verdicts(three)["teacher_physics", "all"].detail == "a; b; c"


@pytest.mark.parametrize(("factor", "passed"), [(0.155, True), (0.145, False)])
def test_contacts_are_short_below_07_of_the_covalent_radii(factor: float, passed: bool) -> None:
    """Silicon atoms 6√3 Å apart, times the factor; twice their radius is 2.22 Å."""
    made = part(structures(["Si"], [4], np.random.default_rng(0)))
    made.arrays["structures/positions"] = np.tile(np.arange(12.0).reshape(-1, 3) * 2.0 * factor, (N, 1))
    distance = factor * 6 * np.sqrt(3)
    assert bool(distance / 2.22 > 0.7) is passed
    assert verdicts(made)["bond_lengths", "all"].passed is passed


@pytest.mark.parametrize("limit", ["force: 70", "pressure: 120", "energy: 7"])
def test_a_recipes_limits_are_the_thresholds(limit: str) -> None:
    gate = {"force": "largest_force", "pressure": "largest_pressure", "energy": "energy_fit"}[limit.split(":")[0]]
    changed = find_rules(recipe(f"limits: {{{limit}}}\n"), "full")
    assert changed[gate].threshold == float(limit.split(": ")[1])
    assert {g for g, rule in changed.items() if rule != find_rules(recipe(), "full")[g]} == {gate}


def test_what_can_not_come_out_go_is_told_with_its_numbers() -> None:
    (line,) = find_hopeless(recipe("elements: [H, C]\ngates: {element_entropy: {threshold: 1.5, required: true}}\n"))
    assert line.startswith("this recipe can't be GO: the entropy of 2 elements is at most 1.000 bits, the gate element_entropy wants 1.5;")
    assert find_hopeless(recipe("elements: [H, C]\ngates: {element_entropy: {threshold: 1.0, required: true}}\n")) == []
