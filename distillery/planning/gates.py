"""Gates: numbers a dataset must reach. Each can fail; a NO-GO says which and by how much."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from distillery.planning.findings import Finding, find_values
from distillery.planning.measures import Measures
from distillery.planning.plan import Judgement
from distillery.planning.statistics import entropy_ceiling
from distillery.recipe.recipe import GateName, Recipe, StageName

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Rule:
    """How a gate is judged.

    sign  the value must be `sign` the threshold
    """

    sign: str
    threshold: float
    required: bool
    meaning: str


RULES: dict[GateName, Rule] = {
    "completeness": Rule(">=", 1.0, True, "structures in the dataset over structures wanted"),
    "teacher_success": Rule(">", 0.95, True, "labelled structures over structures sent to the labeller"),
    "element_entropy": Rule(">=", 3.07, False, "Shannon entropy of the elements, weighted by atoms, bits"),
    "element_coverage": Rule(">=", 1.0, True, "share of the recipe's elements that occur"),
    "distinct_sizes": Rule(">", 1, True, "different numbers of atoms within a source"),
    "distinct_compositions": Rule(">", 1, True, "different compositions within a source"),
    "environment_diversity": Rule(">=", 0.25, True, "entropy of a sample of a source's atomic environments, over the largest possible"),
    "duplicates": Rule("<", 0.01, True, "structures that came before, over all that were checked"),
    "generation_seconds": Rule("<", 10.0, True, "mean time to generate a structure, s"),
    "mean_atoms": Rule(">=", 100.0, False, "mean number of atoms (100-150 aimed at)"),
    "size_variation": Rule(">", 0.5, False, "standard deviation over mean of the number of atoms"),
    "system_balance": Rule("<", 0.3, False, "standard deviation over mean of the structures per system"),
    "bond_lengths": Rule("<", 0.05, False, "share of a sample with a contact under 0.7 of the covalent radii"),
    "energy_outliers": Rule("<", 0.01, False, "share with an energy per atom over 10 robust deviations off a fit by elements"),
    "largest_force": Rule("<=", 50.0, True, "largest force on any atom, eV/Å"),
    "largest_pressure": Rule("<=", 100.0, True, "largest pressure of any structure, positive or negative, GPa"),
    "energy_fit": Rule("<=", 5.0, True, "largest deviation of an energy from its source's robust fit by elements, eV/atom"),
    "sound_labels": Rule(">", 0.9, False, "labels within the recipe's limits, over all labels"),
    "teacher_physics": Rule("<=", 0, True, "laws of physics that labels break: differences of the energy, symmetry, extensivity"),
}
ADVISORY_IN_PILOT: frozenset[GateName] = frozenset({"element_entropy", "element_coverage", "duplicates"})
"""A few structures of every source can't tell these: one duplicate among eighty is over a percent."""
BY_CLOCK: frozenset[GateName] = frozenset({"generation_seconds"})
"""What these measure is no property of structures: it must not decide which of them come out."""
ENTROPY_SHARE = 0.9
"""Of the largest entropy that the recipe's elements allow: what element_entropy wants where a recipe names no threshold."""


@dataclass(frozen=True)
class Verdict:
    """A finding, judged."""

    gate: GateName
    scope: str
    value: float | None
    sign: str
    threshold: float
    ceiling: float | None
    required: bool
    passed: bool
    meaning: str
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """All fields, for report.json."""
        return asdict(self)


def judge(measures: Measures, recipe: Recipe, stage: StageName = "full", wanted: Mapping[str, int] | None = None) -> list[Verdict]:
    """Every gate by the rules of a stage.

    wanted  structures owed by every source; what the recipe says of the stage if absent
    """
    rules = find_rules(recipe, stage)
    wanted = recipe.stage_counts(stage) if wanted is None else wanted
    return [judge_finding(finding, rules[finding.gate]) for finding in find_values(measures, recipe, wanted)]


def is_go(verdicts: list[Verdict]) -> bool:
    """True if every required gate is passed."""
    return all(verdict.passed for verdict in verdicts if verdict.required)


def sum_up(verdicts: list[Verdict]) -> Judgement:
    """The verdicts as one judgement: the gates that failed, and whether other shares could help."""
    failed = [verdict for verdict in verdicts if verdict.required and not verdict.passed]
    return Judgement(tuple(f"{v.gate} ({v.scope})" for v in failed), is_for_good=all(v.gate in BY_CLOCK for v in failed))


def find_rules(recipe: Recipe, stage: StageName) -> dict[GateName, Rule]:
    """The rules of a stage: the defaults, which follow the recipe's limits and elements, changed by the recipe, then by its stage."""
    rules = {gate: replace(rule, required=rule.required and not _is_lenient(gate, stage)) for gate, rule in RULES.items()}
    rules |= {gate: replace(rules[gate], threshold=threshold) for gate, threshold in _find_thresholds(recipe).items()}
    for changes in recipe.gate_changes(stage):
        rules |= {gate: replace(rules[gate], **change.model_dump(exclude_none=True)) for gate, change in changes.items()}
    return rules


def _find_thresholds(recipe: Recipe) -> dict[GateName, float]:
    """Thresholds that depend on the recipe: what no label may pass, and the entropy as a share of what its elements allow."""
    limits = [recipe.find_limits(name) for name in recipe.sources]
    return {
        "largest_force": max(limit.force for limit in limits),
        "largest_pressure": max(limit.pressure for limit in limits),
        "energy_fit": max(limit.energy for limit in limits),
        "element_entropy": ENTROPY_SHARE * entropy_ceiling(len(recipe.elements)),
    }


def find_hopeless(recipe: Recipe) -> list[str]:
    """Required gates that no dataset of this recipe can pass, as sentences; known before anything is made."""
    rule, n_elements = find_rules(recipe, recipe.stage_names[-1])["element_entropy"], len(recipe.elements)
    ceiling = entropy_ceiling(n_elements)
    if not rule.required or ceiling >= rule.threshold:
        return []
    return [
        f"this recipe can't be GO: the entropy of {n_elements} elements is at most {ceiling:.3f} bits, the gate element_entropy wants "
        f"{rule.threshold:g}; lower gates.element_entropy.threshold, or make it `required: false` (docs/gates.md)"
    ]


def _is_lenient(gate: GateName, stage: StageName) -> bool:
    return stage == "pilot" and gate in ADVISORY_IN_PILOT


def judge_finding(finding: Finding, rule: Rule) -> Verdict:
    """A finding by its rule; where there is no value, nothing is passed."""
    passed = finding.value is not None and _COMPARE[rule.sign](finding.value, rule.threshold)
    return Verdict(
        gate=finding.gate,
        scope=finding.scope,
        value=finding.value,
        sign=rule.sign,
        threshold=rule.threshold,
        ceiling=finding.ceiling,
        required=rule.required,
        passed=passed,
        meaning=rule.meaning,
        detail=finding.detail,
    )
