"""The training of small checkpoints of our own: Adam on one cycle of its rate, weights averaged over the steps."""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST_GRADIENT = 1.0
SMOOTHING = 0.995
"""Of the weights that are kept, averaged over the steps."""


def train_averaged(module: Any, find_loss: Callable[[], Tensor], n_steps: int, *, rate: float, report_every: int) -> Any:
    """A copy of the module with averaged weights after so many steps; `find_loss` draws a batch and gives the module's loss on it."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=n_steps, pct_start=0.05)
    kept, total = copy.deepcopy(module), 0.0
    for step in range(1, n_steps + 1):
        loss = find_loss()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        _average(kept, module, min(SMOOTHING, step / (step + 10)))
        total += loss.item()
        if step % report_every == 0:
            print(f"{step} steps, {time.process_time():.0f} s of processor time, mean loss {total / report_every:.3f}", flush=True)
            total = 0.0
    return kept


@torch.no_grad()
def _average(kept: Any, module: Any, smoothing: float) -> None:
    for old, new in zip(kept.parameters(), module.parameters(), strict=True):
        old.lerp_(new, 1 - smoothing)
