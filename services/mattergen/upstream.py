"""Upstream's code of MatterGen: a checkout at the pinned commit, or the installed PyPI release where there is none."""

import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from distillery.errors import Unavailable
from distillery.generators.models import torch_scatter_shim
from distillery.generators.models.upstream import VARIABLE, digest_upstream, find_upstream

REPOSITORY = "microsoft/mattergen"
COMMIT = "ac9ddd406171138c3f037d06b9b53fedbbb1c536"
_DIGEST = "9eed36e617abfbbf83b956c2866bb804c5a1b00a798b921a593432cb021c014d"
"""`digest_upstream` of the package's folder at that commit."""
_FOREIGN = ("emmet", "emmet.core", "emmet.core.material")
"""MatterGen takes one name from emmet-core, for an annotation; a stand-in spares the package and what it needs."""
_MODULES = (
    "adapter",
    "common.data.collate",
    "common.data.dataset",
    "common.data.transform",
    "common.diffusion.corruption",
    "common.diffusion.predictors_correctors",
    "common.gemnet.gemnet_ctrl",
    "common.loss",
    "denoiser",
    "diffusion.d3pm.d3pm_predictors_correctors",
    "diffusion.sampling.classifier_free_guidance",
    "diffusion.wrapped.wrapped_predictors_correctors",
    "property_embeddings",
)
"""Imported at once, so that what they warn of is silenced in one place."""
_log = logging.getLogger("distillery")


def import_upstream() -> str:
    """Make `import mattergen` work in this process and mend what newer libraries broke; the version that was found.

    The checkout is $UPSTREAM_DIR/mattergen. Unavailable says how to get it, or which package upstream misses.
    """
    _find()
    try:
        with _quiet(), _standing_in_for_emmet():
            torch_scatter_shim.install()
            for module in _MODULES:
                import_module(f"mattergen.{module}")
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"upstream's code of mattergen needs the package {error.name}; services/mattergen/requirements.txt names all"
        ) from error
    _mend()
    return _describe()


def _find() -> None:
    if "mattergen" in sys.modules:
        return
    try:
        sys.path.insert(0, str(find_upstream("mattergen", REPOSITORY, COMMIT).resolve()))
    except Unavailable:
        if find_spec("mattergen") is None:
            raise
        _log.info("no checkout of mattergen in $%s; using the installed package", VARIABLE)


def _mend() -> None:
    """numpy 2 has no `np.math`; the PyPI release lacks GemNet's scale file, whose values every checkpoint holds; no progress bar."""
    from mattergen.common.gemnet.layers import basis_utils, scaling
    from mattergen.common.utils.globals import MODELS_PROJECT_ROOT
    from mattergen.diffusion.sampling import pc_sampler

    basis_utils.np = SimpleNamespace(**vars(np), math=math)
    if not (MODELS_PROJECT_ROOT / "common/gemnet/gemnet-dT.json").exists():
        scaling.read_value_json = lambda path, key: None
    pc_sampler.tqdm = lambda steps, **_: steps


def _describe() -> str:
    """The commit, marked where the code differs from it, or the release."""
    import mattergen

    folder = Path(mattergen.__path__[0])
    if digest_upstream(folder) == _DIGEST:
        return COMMIT[:12]
    try:
        release = version("mattergen")
    except PackageNotFoundError:
        return f"{COMMIT[:12]} modified"
    return f"PyPI {release}" if folder.parent.name == "site-packages" else f"{COMMIT[:12]} modified"


@contextmanager
def _quiet() -> Iterator[None]:
    """Importing upstream prints a path, sets PROJECT_ROOT and warns of its invalid escape sequences."""
    before = os.environ.get("PROJECT_ROOT")
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield
    if before is None:
        os.environ.pop("PROJECT_ROOT", None)
    else:
        os.environ["PROJECT_ROOT"] = before


@contextmanager
def _standing_in_for_emmet() -> Iterator[None]:
    kept: dict[str, Any] = {name: sys.modules.get(name) for name in _FOREIGN}
    for name in _FOREIGN:
        sys.modules[name] = ModuleType(name)
    sys.modules[_FOREIGN[-1]].__dict__["PropertyOrigin"] = object
    try:
        yield
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
