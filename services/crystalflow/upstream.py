"""Upstream's code: imported without what only its data preparation needs, and built from a checkpoint's hyperparameters."""

import ast
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra.utils
import torch
from omegaconf import OmegaConf

from distillery.errors import Unavailable
from distillery.generators.models import torch_scatter_shim
from distillery.generators.models.upstream import digest_upstream, find_upstream
from distillery.runtime.environment import change_environment

NAME = "crystalflow"
REPOSITORY = "ixsluo/CrystalFlow"
COMMIT = "9c25ff0245d787efd87c9d1d797a8968443608cc"
DIGEST = "7eda278a3e86d706240382edbd8ac355043235ac214aa8ec86c8c3a2565b1a62"
"""`digest_upstream` of the pinned commit."""
FLOW = "diffcsp.pl_modules.flow.CSPFlow"
TARGETS = frozenset(
    {
        FLOW,
        "diffcsp.pl_modules.cspnet.CSPNet",
        "diffcsp.pl_modules.diff_utils.BetaScheduler",
        "diffcsp.pl_modules.diff_utils.SigmaScheduler",
        "diffcsp.pl_modules.conditioning.ScalarEmbedding",
        "diffcsp.pl_modules.conditioning.VectorEmbedding",
    }
)
"""Hydra makes whatever a checkpoint's hyperparameters name; these may be named."""
BESIDE = ("optim", "data", "logging")
_SIZES = ("scripts/generation.py", "train_dist")
"""Where upstream says how often cells have how many atoms."""
_log = logging.getLogger("distillery")
_VARIABLES = {"PROJECT_ROOT": ".", "HYDRA_JOBS": ".", "WANDB_DIR": "."}
_UNUSED = ("p_tqdm", "pathos", "pathos.pools", "pyxtal", "pyxtal.symmetry", "sklearn", "sklearn.metrics")
"""Imported by upstream's module of data preparation, never called while sampling."""


@dataclass(frozen=True, eq=False)
class Upstream:
    """What is taken from upstream beside its networks.

    version  the commit, and "modified" where the files are others
    sizes    by training set: how often cells have 0, 1, 2, … atoms there
    """

    version: str
    sizes: Mapping[str, Sequence[float]]


def import_upstream() -> Upstream:
    """Make `diffcsp` importable and import it; Unavailable if it is missing."""
    folder = find_upstream(NAME, REPOSITORY, COMMIT)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    with warnings.catch_warnings(), environment():
        warnings.simplefilter("ignore")
        torch_scatter_shim.install()
        with _without_unused():
            hydra.utils.get_class(FLOW)
    sys.modules[FLOW.rpartition(".")[0]].__dict__["tqdm"] = iter
    is_pinned = digest_upstream(folder) == DIGEST
    return Upstream(COMMIT if is_pinned else f"{COMMIT} modified", _read_sizes(folder / _SIZES[0]))


def _read_sizes(script: Path) -> Mapping[str, Sequence[float]]:
    """The table of upstream's script that samples de novo, which can't be imported for its arguments; empty where there is none."""
    try:
        for node in ast.parse(script.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == _SIZES[1]:
                return dict(ast.literal_eval(node.value))
    except (OSError, SyntaxError, ValueError) as error:
        _log.warning("upstream's table of cell sizes can't be read: %s", error)
    return {}


def build_network(model: Mapping[str, Any], **beside: Mapping[str, Any]) -> torch.nn.Module:
    """Upstream's network with random weights; Unavailable if `model` names a class that is none of its parts, or holds `${…}`.

    beside  what upstream keeps with the model without using it: BESIDE
    """
    _check_harmless(model)
    config = OmegaConf.create({**model, "_target_": FLOW})
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        network: torch.nn.Module = hydra.utils.instantiate(config, _recursive_=False, **beside)
    return network


def _check_harmless(model: Mapping[str, Any]) -> None:
    """Nothing is built but the model's own parts, and no text is evaluated."""
    for key, value in _walk(model):
        if key == "_target_" and value not in TARGETS:
            raise Unavailable(f"the checkpoint's hyperparameters name {value}; only parts of CrystalFlow's model are allowed")
        if isinstance(value, str) and "${" in value:
            raise Unavailable(f"the checkpoint's hyperparameters hold {value!r}; upstream's training writes what it stands for")


def _walk(node: Any, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every value in nested mappings and lists, with its key if it has one."""
    yield key, node
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _walk(child, name)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for child in node:
            yield from _walk(child)


def environment() -> AbstractContextManager[None]:
    """Inside, the variables that upstream insists on while it is imported are set."""
    return change_environment(_VARIABLES)


class _Absent(ModuleType):
    """In the place of a module that sampling does not need; what is taken from it can be imported, not used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # others ask for it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is left out: sampling does not need it")

        return refuse


@contextmanager
def _without_unused() -> Iterator[None]:
    """Inside, modules that are slow or heavy and of no use to sampling are not imported unless they are there already."""
    placed = [name for name in _UNUSED if name.partition(".")[0] not in sys.modules]
    for name in placed:
        sys.modules[name] = _Absent(name)
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]
