"""Networks filled with a checkpoint's tensors; what upstream would draw at random first, to be overwritten, is not drawn."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from distillery.errors import Unavailable

_INITIALISERS = tuple(name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_"))
"""`orthogonal_` alone takes 41 of the 50 s in which MatterGen is loaded."""
_lock = threading.Lock()
N = TypeVar("N", bound=torch.nn.Module)
_LONGEST = 500


def build_filled(build: Callable[[], N], tensors: Mapping[str, Tensor], misfit: str) -> N:
    """The network that `build` makes, with these tensors as its weights.

    Unavailable, which begins with `misfit`, where the names or shapes are not the network's own; it names a tensor that is not finite.
    """
    with _without_initialising():
        network = build()
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise Unavailable(f"{misfit}: {str(error)[:_LONGEST]}") from error
    damaged = [name for name, weights in network.named_parameters() if not bool(torch.isfinite(weights).all())]
    if damaged:
        raise Unavailable(f"{misfit}: {len(damaged)} of its weights hold NaN or infinity, the first is {damaged[0]}; the file is damaged")
    return network


@contextmanager
def _without_initialising() -> Iterator[None]:
    """Inside, torch.nn.init leaves the tensors of this thread as they are."""
    own = threading.get_ident()

    def skip(initialise: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def leave(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
            return tensor if threading.get_ident() == own else initialise(tensor, *arguments, **options)

        return leave

    with _lock:
        before = {name: getattr(torch.nn.init, name) for name in _INITIALISERS}
        for name, initialise in before.items():
            setattr(torch.nn.init, name, skip(initialise))
        try:
            yield
        finally:
            for name, initialise in before.items():
                setattr(torch.nn.init, name, initialise)
