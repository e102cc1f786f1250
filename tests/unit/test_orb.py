"""Orb teachers on a checkpoint of random weights: the whole path, mixed batches, what is refused."""

import importlib.util
import inspect
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import httpx
import numpy as np
import pytest
from ase.build import fcc111

import labeller
from distillery.dataset.layout import Label
from distillery.errors import Unavailable
from distillery.runtime.stopping import Stopped
from distillery.structures.structure import Structure, from_ase
from distillery.weights.catalogue import read_catalogue
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher
from labeller.teachers.families import ORB
from labeller.teachers.teacher import Teacher
from tests.labelling import NEVER, methane, mixed, moved, one_atom, receipt, silicon, water
from tests.serving import serve

ENERGY_TOLERANCE = 1e-3
FORCE_TOLERANCE = 1e-3

IS_MISSING = sys.version_info < (3, 12) or importlib.util.find_spec("orb_models") is None
LABELLER = Path(labeller.__file__).parent
needs_orb = pytest.mark.skipif(IS_MISSING, reason="needs orb-models (Python >= 3.12)")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LabellerSettings:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orb_models.forcefield.pretrained import orb_v2_architecture

        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("weights") / "random.ckpt"
        torch.save(orb_v2_architecture(device="cpu").state_dict(), path)
    return LabellerSettings(teacher="orb-v2", device="cpu", weights_path=path, data=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher(settings: LabellerSettings) -> Teacher:
    made = create_teacher(settings)
    made.load(NEVER)
    made.use_threads(1)
    return made


def slab() -> Structure:
    atoms = fcc111("Si", (2, 2, 2), a=5.4, vacuum=7.5, periodic=True)
    atoms.rattle(0.05, seed=1)
    return from_ase(atoms, id="p/0004", system="surface")


def samples() -> list[Structure]:
    bent = moved(water("p/0000"), np.random.default_rng(0).normal(0, 0.05, (3, 3)))
    return [bent, silicon("p/0001", 1, seed=1), one_atom("p/0002"), methane("p/0003"), slab()]


def label_all(teacher: Teacher, structures: list[Structure]) -> list[Label]:
    return teacher.predict(teacher.featurise(structures))


@needs_orb
def test_a_mixed_batch_is_labelled_in_order_with_the_right_shapes(teacher: Teacher) -> None:
    for structure, label in zip(samples(), label_all(teacher, samples()), strict=True):
        assert label.forces.shape == (len(structure), 3)
        assert label.forces.dtype == np.float32
        assert np.isfinite(label.energy)
        assert (label.stress is not None) == structure.is_periodic
        assert label.stress is None or label.stress.shape == (6,)


@needs_orb
def test_labels_agree_with_the_calculator_of_orb_models(teacher: Teacher, settings: LabellerSettings) -> None:
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.inference.calculator import ORBCalculator

    from distillery.structures.structure import to_ase

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, adapter = pretrained.orb_v2(weights_path=str(settings.weights_path), device="cpu", compile=False)
        calculator = ORBCalculator(model, adapter, device="cpu")
    for structure, label in zip(samples(), label_all(teacher, samples()), strict=True):
        atoms = to_ase(structure)
        atoms.calc = calculator
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=ENERGY_TOLERANCE)
        assert np.allclose(label.forces, atoms.get_forces(), atol=FORCE_TOLERANCE)
        assert label.stress is None or np.allclose(label.stress, atoms.get_stress(), atol=FORCE_TOLERANCE)


@needs_orb
def test_labels_are_the_same_alone_and_in_a_batch(teacher: Teacher) -> None:
    for structure, label in zip(samples(), label_all(teacher, samples()), strict=True):
        alone = label_all(teacher, [structure])[0]
        assert label.energy == pytest.approx(alone.energy, abs=ENERGY_TOLERANCE)
        assert np.allclose(label.forces, alone.forces, atol=FORCE_TOLERANCE)


@needs_orb
def test_nothing_is_compiled_unless_asked_for(teacher: Teacher) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    label_all(teacher, samples())
    assert not counters["frames"]


@needs_orb
def test_predicting_with_a_direct_model_does_not_use_what_could_be_compiled(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(batch: object) -> None:
        raise AssertionError("direct models can be compiled now")

    monkeypatch.setattr(teacher._model, "_compiled_call_impl", refuse)  # type: ignore[attr-defined]
    assert len(label_all(teacher, samples())) == len(samples())


@needs_orb
def test_the_models_that_can_be_compiled_are_the_conservative_ones() -> None:
    from orb_models.forcefield.models.conservative_regressor import ConservativeForcefieldRegressor
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    for name in ORB.names:
        model, _ = get_args(get_type_hints(ORB_PRETRAINED_MODELS[name])["return"])
        assert (model is ConservativeForcefieldRegressor) == ("conservative" in name)


@pytest.mark.parametrize("name", [name for name in ORB.names if "conservative" not in name])
def test_a_direct_model_that_is_to_be_compiled_is_refused(name: str) -> None:
    with pytest.raises(Unavailable, match=f"{name} can't be compiled, yet DISTILLERY_LABELLER_COMPILE is true"):
        create_teacher(LabellerSettings(teacher=name, compile=True)).load(NEVER)


@pytest.mark.parametrize(
    ("name", "compile", "stance"),
    [
        ("orb-v2", None, "force_eager"),
        ("orb-v3-direct-inf-omat", None, "force_eager"),
        ("orb-v3-conservative-inf-omat", None, "default"),
        ("orb-v3-conservative-inf-omat", False, "force_eager"),
    ],
)
def test_on_a_gpu_conservative_models_are_compiled_unless_refused(
    name: str, compile: bool | None, stance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeller.teachers import orb

    asked: list[object] = []

    def load(**options: object) -> tuple[None, None]:
        asked.append(options["compile"])
        return None, None

    (tmp_path / "some.ckpt").write_bytes(b"weights")
    monkeypatch.setattr(orb, "_find_loader", lambda name: load)
    monkeypatch.setattr(orb, "choose_device", lambda wanted, variable: "cuda")
    monkeypatch.setattr(orb, "version", lambda package: "0")
    monkeypatch.setattr(orb.torch.compiler, "set_stance", asked.append)
    create_teacher(LabellerSettings(teacher=name, compile=compile, weights_path=tmp_path / "some.ckpt")).load(NEVER)
    assert asked == [stance, stance == "default"]


@needs_orb
def test_unsound_structures_never_reach_the_teacher(settings: LabellerSettings) -> None:
    nan = moved(water("p/0001"), np.full((3, 3), np.nan))
    foreign = replace(water("p/0002"), numbers=np.array([0, 1, 1], np.uint8))
    heavy = replace(water("p/0003"), numbers=np.array([117, 1, 1], np.uint8))
    with serve(create_labeller(create_teacher(settings), settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = receipt(client, "p", [*mixed("p", 1), nan, foreign, heavy])
    assert {r["id"]: r["reason"] for r in answer["rejected"]} == {
        "p/0001": "not_finite",
        "p/0002": "unknown_element",
        "p/0003": "unknown_element",
    }
    assert answer["n_structures"] == 1
    assert answer["teacher"]["version"].startswith("orb-models==")


@needs_orb
def test_the_elements_are_those_of_the_training_data(teacher: Teacher) -> None:
    assert len(teacher.elements) == 89
    assert "Ra" not in teacher.elements
    assert {"H", "Si", "Cl", "U"} <= set(teacher.elements)


@needs_orb
def test_every_name_is_known_to_orb_models() -> None:
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    assert set(ORB.names) <= set(ORB_PRETRAINED_MODELS)


@needs_orb
def test_weights_yaml_has_the_addresses_that_orb_models_has() -> None:
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    catalogue = read_catalogue(LABELLER)
    assert set(catalogue) == set(ORB.names)
    for name, weights in catalogue.items():
        address = inspect.signature(ORB_PRETRAINED_MODELS[name]).parameters["weights_path"].default
        assert [source.url for source in weights.files.values()] == [address]
        assert list(weights.files) == [address.rsplit("/", 1)[-1]]


@needs_orb
def test_missing_weights_are_named_with_their_official_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as problem:
        create_teacher(LabellerSettings(teacher="orb-v2", device="cpu", weights=tmp_path)).load(NEVER)
    assert "orb-v2-20241011.ckpt" in problem.value.detail
    assert "https://orbitalmaterials-public-models" in problem.value.detail


def test_weights_are_fetched_neither_where_that_is_forbidden_nor_in_a_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labeller.teachers import orb

    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(orb, "_find_loader", lambda name: None)
    with pytest.raises(Unavailable, match="downloads are off"):
        create_teacher(LabellerSettings(teacher="orb-v2", download=False, weights=tmp_path)).load(NEVER)
    with pytest.raises(Stopped):
        create_teacher(LabellerSettings(teacher="orb-v2", weights=tmp_path)).load(stop)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="needs a Python older than 3.12")
def test_an_older_python_is_told_what_orb_needs(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"Python >= 3\.12"):
        create_teacher(LabellerSettings(teacher="orb-v2", weights=tmp_path)).load(NEVER)


@pytest.mark.parametrize("name", ORB.names)
def test_every_orb_name_makes_a_teacher(name: str) -> None:
    assert create_teacher(LabellerSettings(teacher=name)).name == name
