"""Sampling: upstream's predictor-corrector with guidance, elements masked, for cells of given sizes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillery.generators.models.crystals import Sample
from distillery.generators.models.model import BatchFailed, ReportProgress, watching
from distillery.runtime.device import is_fatal, is_out_of_memory
from services.mattergen.network import Network

_LARGEST_STEP = 1e6
_SNR_POSITIONS = 0.4
_SNR_CELL = 0.2
_N_CORRECTIONS = 1
"""Upstream's sampling_conf/default.yaml has these four."""
_MASKED = -1e10
"""Added to the logits of elements that must not come out; upstream's own mask has the same."""
_log = logging.getLogger("distillery")


@dataclass(frozen=True)
class Condition:
    """What samples are conditioned on: properties by name, and how strongly (0: not at all)."""

    properties: Mapping[str, float | str]
    guidance: float


def draw_samples(
    network: Network, sizes: NDArray[np.int64], numbers: Sequence[int], condition: Condition, report: ReportProgress
) -> list[Sample]:
    """One sample for each size, as one batch, of the elements with these atomic numbers only; drawn from torch's global state.

    BatchFailed if upstream's sampler broke down, which one exploding cell can cause in all.
    """
    sampler = _build_sampler(network, condition.guidance)
    network.module.model.element_mask_func = mask_elements(numbers)
    n_calls = network.n_steps * (1 + _N_CORRECTIONS)
    try:
        with watching(network.module.model, n_calls, report):
            _, mean = sampler.sample(_ask_for(sizes, condition.properties))
    except (RuntimeError, IndexError, ValueError) as error:  # singular cells, cells without neighbours, NaN
        if is_out_of_memory(error) or is_fatal(error):
            raise
        _log.info("the sampler broke down on a batch of %d: %s", len(sizes), error)
        raise BatchFailed("sampler_failed") from error
    return _split(mean)


def mask_elements(numbers: Sequence[int]) -> Callable[..., Tensor]:
    """A function for the denoiser that leaves only these elements possible, in all samples of a batch.

    Column k of the logits is the element of atomic number k + 1; the last is the diffusion's own mask.
    """

    def mask(logits: Tensor, x: object = None, batch_idx: object = None, predictions_are_zero_based: bool = True) -> Tensor:
        penalty = torch.full((logits.shape[1],), _MASKED, dtype=logits.dtype, device=logits.device)
        penalty[torch.as_tensor(numbers, device=logits.device) - 1] = 0.0
        return logits + penalty

    return mask


def _build_sampler(network: Network, guidance: float) -> Any:
    from mattergen.common.diffusion.predictors_correctors import LatticeAncestralSamplingPredictor, LatticeLangevinDiffCorrector
    from mattergen.diffusion.d3pm.d3pm_predictors_correctors import D3PMAncestralSamplingPredictor
    from mattergen.diffusion.sampling.classifier_free_guidance import GuidedPredictorCorrector
    from mattergen.diffusion.wrapped.wrapped_predictors_correctors import WrappedAncestralSamplingPredictor, WrappedLangevinCorrector
    from mattergen.property_embeddings import SetConditionalEmbeddingType, SetUnconditionalEmbeddingType

    return GuidedPredictorCorrector(
        diffusion_module=network.module,
        device=network.device,
        guidance_scale=guidance,
        remove_conditioning_fn=SetUnconditionalEmbeddingType(),
        keep_conditioning_fn=SetConditionalEmbeddingType(),
        predictor_partials={
            "pos": WrappedAncestralSamplingPredictor,
            "cell": LatticeAncestralSamplingPredictor,
            "atomic_numbers": partial(D3PMAncestralSamplingPredictor, predict_x0=True),
        },
        corrector_partials={
            "pos": partial(WrappedLangevinCorrector, max_step_size=_LARGEST_STEP, snr=_SNR_POSITIONS),
            "cell": partial(LatticeLangevinDiffCorrector, max_step_size=_LARGEST_STEP, snr=_SNR_CELL),
        },
        n_steps_corrector=_N_CORRECTIONS,
        N=network.n_steps,
        eps_t=1 / network.n_steps,
    )


def _ask_for(sizes: NDArray[np.int64], properties: Mapping[str, float | str]) -> Any:
    """Upstream's batch of cells to fill: their numbers of atoms and the properties they shall have."""
    from mattergen.common.data.collate import collate
    from mattergen.common.data.dataset import NumAtomsCrystalDataset
    from mattergen.common.data.transform import SetProperty

    wanted = [SetProperty(name, value) for name, value in properties.items()]
    cells = NumAtomsCrystalDataset(properties={}, num_atoms=sizes, transforms=wanted)
    return collate([cells[k] for k in range(len(sizes))])


def _split(batch: Any) -> list[Sample]:
    ends = np.cumsum(batch.num_atoms.cpu().numpy())[:-1]
    numbers = np.split(batch.atomic_numbers.cpu().numpy().astype(np.int64), ends)
    fractional = np.split(batch.pos.cpu().numpy().astype(np.float64), ends)
    cells = batch.cell.cpu().numpy().astype(np.float64)
    return [Sample(z, f, c) for z, f, c in zip(numbers, fractional, cells, strict=True)]
