"""The verdict in words: what a dataset taught, and what more of it would help most."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from distillery.schema.assess import CurvePoint, Errors, Need

FLAT = -0.05
"""A slope above this is none: twice the structures would take off less than 3.5 % of the error."""
FEWEST_PASSES = 3.0
"""Through the largest share: a student that saw its structures less often is limited by its training, not by them."""
_NOTHING = "The student learned no forces: of no family is it better than predicting none. Look at the labels, or give it more steps."


def find_needs(curve: Sequence[CurvePoint]) -> dict[str, Need]:
    """By family of the probe set: its share of all errors of forces with the whole training side, and the slope of its learning curve.

    Every family counts alike, however many structures the probe set has of it.
    """
    last = curve[-1].family
    total = sum(errors.forces for errors in last.values()) or 1.0
    slopes = {name: find_slope([(point.n_structures, point.family[name].forces) for point in curve]) for name in last}
    return {name: Need(share=round(errors.forces / total, 3), slope=slopes[name]) for name, errors in last.items()}


def find_slope(points: Sequence[tuple[int, float]]) -> float | None:
    """Slope of the least-squares line through the logarithms of (structures, error); None where there is one size only."""
    sizes, errors = np.log(np.maximum(np.array(points, dtype=np.float64), 1e-9)).T
    return round(float(np.polyfit(sizes, errors, 1)[0]), 2) if np.ptp(sizes) > 1e-9 else None


def say_verdict(curve: Sequence[CurvePoint], needs: Mapping[str, Need], steps: int) -> str:
    """A few sentences for whoever decides what to make next; `steps` are those of the training."""
    last = curve[-1].family
    if (passes := curve[-1].passes) is not None and passes < FEWEST_PASSES:
        return _say_too_short(curve[-1].n_structures, passes, steps)
    untaught = [name for name, errors in last.items() if errors.forces >= errors.zero_forces]
    if len(untaught) == len(last):
        return _NOTHING
    sentences = [_say_need(needs), _say_energies(last)]
    if untaught:
        sentences.append(f"It learned nothing of {' and '.join(untaught)}: there it is no better than predicting no force.")
    return " ".join(sentences)


def _say_too_short(n_structures: int, passes: float, steps: int) -> str:
    wanted = math.ceil(FEWEST_PASSES * steps / max(passes, 0.01))
    return (
        f"The training was too short to tell what more structures would bring: each of the {n_structures} was seen {passes:g} times "
        f"in {steps} steps; give --budget {wanted} or more."
    )


def choose_most_helpful(needs: Mapping[str, Need]) -> str | None:
    """The family with which twice the structures would take most off the sum of all errors; None where that helps nowhere."""
    gains = {name: need.share * (1.0 - 2.0**need.slope) for name, need in needs.items() if need.slope is not None and need.slope <= FLAT}
    return max(gains, key=gains.__getitem__) if gains else None


def _say_need(needs: Mapping[str, Need]) -> str:
    best, largest = choose_most_helpful(needs), max(needs, key=lambda name: needs[name].share)
    if best is not None:
        return f"More {best} would help most: {_say_share(needs[best])}, slope still {needs[best].slope:.1f}.".replace("-", "−")
    if needs[largest].slope is None:
        return f"The largest error is that of {largest}: {_say_share(needs[largest])}; a single share tells no slope."
    worst = f"the largest is that of {largest}, {_say_share(needs[largest])}"
    return f"More of the same would help little: no error falls with more structures, {worst}."


def _say_share(need: Need) -> str:
    return f"{100 * need.share:.0f} % of the error"


def _say_energies(family: Mapping[str, Errors]) -> str:
    worst = max(family, key=lambda name: family[name].energy)
    return f"Energies are worst for {worst}: {family[worst].energy:.0f} meV/atom."
