"""Shares of sources, as weights and as whole numbers."""

from collections.abc import Mapping


def rescale(weights: Mapping[str, float], generative: Mapping[str, bool], fraction: float) -> dict[str, float]:
    """The weights such that generative ones have this fraction of the whole."""
    sums = {kind: sum(w for n, w in weights.items() if generative[n] == kind) for kind in (True, False)}
    return {n: w / sums[generative[n]] * (fraction if generative[n] else 1 - fraction) for n, w in weights.items()}


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to `weights` that add up to `total` (largest remainders)."""
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], list(exact).index(name)))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
