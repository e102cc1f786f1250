"""SampledGenerator with a scripted model: seeds, stops, the device and who may use it, the card. Needs no upstream code."""

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch
from pydantic_settings import SettingsConfigDict

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator, seed_everything
from distillery.generators.models.settings import ModelSettings
from distillery.generators.proposals import Proposal
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from tests.fake_model import Scripted, generate, load, make_settings, take_all, water


def bytes_of(made: Made) -> bytes:
    return to_arrow(made.structures, {"attempts": made.attempts, "rejected": dict(made.rejected)})


TorchSettings = tuple[int, bool, bool, str]


def settings_of_torch() -> TorchSettings:
    """Threads; whether torch is deterministic, and only warns where it can't be; how exact products of float32 are."""
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
    )


def test_a_stop_inside_a_batch_leaves_model_and_device_as_they_were() -> None:
    model, stop = Scripted(settings=make_settings(threads=3)), threading.Event()
    generator, expected, outside = load(model), bytes_of(generate(load(Scripted()))), settings_of_torch()
    calls = 0

    def leave() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            stop.set()

    model.at_step = leave
    with pytest.raises(Stopped):
        generate(generator, stop)
    assert calls == 2
    assert not model.network._forward_pre_hooks
    assert settings_of_torch() == outside
    model.at_step = lambda: None
    assert bytes_of(generate(generator)) == expected


def test_a_stop_before_the_first_batch_draws_nothing() -> None:
    model, stop = Scripted(), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        generate(load(model), stop)
    assert model.sizes == []


def test_the_same_seed_gives_the_same_bytes_whatever_was_asked_in_between() -> None:
    model = Scripted(lambda batch, n: take_all(batch, n), settings=make_settings(batch=2))
    generator = load(model)
    first = bytes_of(generate(generator))
    assert bytes_of(generate(generator, seed=2)) != first
    torch.rand(3)
    np.random.rand(3)
    assert bytes_of(generate(generator)) == first
    assert model.seeds[:3] == model.seeds[-3:]
    assert len(set(model.seeds)) == 6


def test_perturbations_follow_the_seed_and_are_each_sample_s_own() -> None:
    same = water()
    generator = load(Scripted(lambda batch, n: [Proposal((same,))] * n))
    request: dict[str, Any] = {"perturb": {"rattle": 0.02}}
    assert bytes_of(generate(generator, **request)) == bytes_of(generate(generator, **request)) != bytes_of(generate(generator))
    assert len({s.positions.tobytes() for s in generate(generator, **request).structures}) == 5


def test_all_three_random_states_are_seeded() -> None:
    def draw() -> tuple[float, ...]:
        seed_everything(2**62)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


def test_origins_say_where_a_sample_comes_from() -> None:
    own = {"smiles": "O"}
    model = Scripted(lambda batch, n: [Proposal((replace(water(), origin=own),)) for _ in range(n)], settings=make_settings(batch=4))
    origins = [dict(s.origin) for s in generate(load(model)).structures]
    assert origins[2] == {"model": "scripted", "checkpoint": "tiny", "seed": model.seeds[0], "batch": 4, "place": 2, "smiles": "O"}
    assert origins[4] == {"model": "scripted", "checkpoint": "tiny", "seed": model.seeds[1], "batch": 1, "place": 0, "smiles": "O"}


@pytest.fixture(params=[True, False])
def other_settings_of_torch(request: pytest.FixtureRequest) -> Iterator[TorchSettings]:
    """Two threads; deterministic, with warnings or errors where torch can't be; precision as an orb teacher sets it."""
    before, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=request.param)
    torch.set_float32_matmul_precision("high")
    yield settings_of_torch()
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(before)


def test_threads_determinism_and_precision_hold_while_sampling_and_are_restored_after(other_settings_of_torch: TorchSettings) -> None:
    seen = set[TorchSettings]()
    generate(load(Scripted(settings=make_settings(threads=3), at_step=lambda: seen.add(settings_of_torch()))))
    assert seen == {(3, True, True, "highest")}
    assert settings_of_torch() == other_settings_of_torch


def test_determinism_that_was_off_is_off_again() -> None:
    generate(load(Scripted()))
    assert not torch.are_deterministic_algorithms_enabled()


def test_two_tasks_never_draw_at_the_same_time() -> None:
    inside, most, meeting = 0, 0, threading.Event()

    def count() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        meeting.wait(0.02)
        inside -= 1

    generators = [load(Scripted(settings=make_settings(batch=2), at_step=count)) for _ in range(2)]
    alone = bytes_of(generate(load(Scripted(settings=make_settings(batch=2)))))
    made: list[Made] = []
    threads = [threading.Thread(target=lambda g=g: made.append(generate(g))) for g in generators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert [bytes_of(one) for one in made] == [alone, alone]


def test_the_card_names_what_the_samples_depend_on() -> None:
    generator = SampledGenerator(Scripted(settings=make_settings(threads=3)))
    before = generator.metadata
    assert before.weights_sha256 is None
    assert before.versions == {"library": "7", "torch": version("torch"), "threads": "3", "batch": "8"}
    generator.load()
    after = generator.metadata
    assert after.weights_sha256 == "a" * 64
    assert after.versions == {
        **before.versions,
        "upstream": "abc modified",
        "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "checkpoint": "tiny",
    }


def test_the_card_names_the_gpu_s_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    generator = load(Scripted(settings=make_settings(device="cuda")))
    assert generator.loaded is not None
    assert (generator.loaded.device, generator.metadata.versions["device"]) == ("cuda", "NVIDIA H100 80GB HBM3")


def test_before_loading_and_after_closing_nothing_is_made() -> None:
    generator = SampledGenerator(Scripted())
    with pytest.raises(Unavailable, match="scripted is not loaded"):
        generate(generator)
    generator.load()
    task = resolve_task(GenerateRequest(n=1, seed=1, elements=("H", "O")), generator)
    generator.close()
    with pytest.raises(Unavailable, match="scripted is not loaded"):
        generator.generate(task, threading.Event(), lambda made, n: None)


def test_closing_ends_a_load_that_is_under_way() -> None:
    generator = SampledGenerator(Scripted())
    generator.close()
    with pytest.raises(Stopped):
        generator.load()


def test_what_the_model_can_not_do_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(Unsupported, match="an atom is no molecule"):
        generate(load(Scripted()), min_atoms=1, max_atoms=1)


def test_a_device_that_is_not_there_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnSettings(ModelSettings):
        model_config = SettingsConfigDict(env_prefix="DISTILLERY_SCRIPTED_", frozen=True)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    generator = SampledGenerator(Scripted(settings=OwnSettings(checkpoint="small", device="cuda")))
    with pytest.raises(Unavailable, match="DISTILLERY_SCRIPTED_DEVICE is cuda"):
        generator.load()
