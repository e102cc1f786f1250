"""Waves: what a stage asks for, cut into pieces that are planned one after the other."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from distillery.recipe.recipe import CHECKPOINT_EVERY, Recipe, StageName
from distillery.recipe.shares import apportion


def find_largest_wave(recipe: Recipe, stage: StageName) -> int | None:
    """Structures in a wave; None where all of them are asked for at once."""
    if recipe.stages is None:
        return None
    return recipe.stages.full.wave if stage == "full" else CHECKPOINT_EVERY


def cut_waves(start: Mapping[str, int], target: Mapping[str, int], largest: int | None) -> list[Mapping[str, int]]:
    """What every source has at the end of each wave; the last is the target.

    A wave adds at most `largest` structures, of every source in proportion to what it misses; None: all in one wave.
    """
    missing = {name: max(target[name] - start[name], 0) for name in target}
    total = sum(missing.values())
    if largest is None or total <= largest:
        return [target]
    ends = list(accumulate(cut_evenly(total, largest)))[:-1]
    return [*(_add(start, target, apportion(end, missing)) for end in ends), target]


def _add(start: Mapping[str, int], target: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: min(start[name], target[name]) + more[name] for name in target}


def cut_evenly(n: int, largest: int) -> Sequence[int]:
    """Equal sizes, at most `largest`, that add up to n."""
    n_pieces = -(-n // largest)
    return [n // n_pieces + (k < n % n_pieces) for k in range(n_pieces)]
