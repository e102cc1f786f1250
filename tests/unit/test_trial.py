"""A forecast without a pilot: five structures of every source are made for their rates and thrown away."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.trial import shrink
from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label
from distillery.errors import InvalidRequest
from distillery.planning.forecast import Trial, describe_forecast, measure_trial
from distillery.planning.made_parts import MadeParts
from distillery.recipe.reading import parse_recipe
from distillery.schema.dataset import Rate
from distillery.structures.structure import Structure
from tests.command import distillery
from tests.dataset_folder import RECIPE, write_parts

STAGED = """
name: large
seed: 4
teacher: 7net-0
total: 10000
elements: [H, C, O]
shard_size: 500
sample: {relax: {steps: 5}, keep: 1}
sources:
  molecules: {service: rdkit, system: molecule, share: 0.5, atoms: [10, 30]}
  crystals: {service: mattergen, system: crystal, share: 0.3, fallback: plain}
  plain: {service: pymatgen, system: crystal, share: 0.2}
stages: {pilot: {per_source: 10}}
gates: {element_entropy: {required: true}}
"""
METALS = """
name: metals
seed: 1
teacher: "ase:ase.calculators.emt:EMT"
elements: [Cu, Ni]
sources:
  crystals: {service: pymatgen, system: crystal, count: 1000, atoms: [4, 16]}
"""


def test_a_recipe_to_try_has_five_structures_of_every_source_and_is_made_at_once() -> None:
    recipe = parse_recipe(STAGED)
    small = shrink(recipe)
    assert small.counts() == {"molecules": 5, "crystals": 5, "plain": 5}
    assert small.stage_names == ("full",)
    assert small.shard_size == 5
    assert small.gates == {}
    assert small.sample == recipe.sample
    assert small.sources["molecules"].atoms == (10, 30)
    assert small.sources["crystals"].fallback == "plain"


def test_rates_of_a_trial_stand_for_sources_without_parts(tmp_path: Path) -> None:
    trial = measure_trial(write_parts(tmp_path / "trial"), 5)
    assert set(trial.rates) == {"molecules", "crystals"}
    assert trial.part_bytes > 1000
    recipe = parse_recipe(RECIPE)
    forecast = describe_forecast(MadeParts(tmp_path / "new", recipe), "full", trial)
    assert forecast.rates == trial.rates
    assert forecast.unknown == {}
    assert forecast.rest.label_seconds == pytest.approx(90 * 1.0)
    assert forecast.rest.generate_seconds == {"rdkit": pytest.approx(30.0), "pymatgen": pytest.approx(15.0)}
    assert forecast.rest.parts_bytes == pytest.approx(
        6 * trial.part_bytes + 60 * trial.rates["molecules"].n_bytes + 30 * trial.rates["crystals"].n_bytes, rel=1e-6
    )
    assert "the rates of molecules, crystals are of 5 structures each" in forecast.assumption


def test_rates_of_parts_go_before_those_of_a_trial(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path, only=lambda shard: shard.source == "molecules")
    rate = Rate(acceptance=0.5, generate_seconds=9.0, label_seconds=9.0, n_bytes=900.0)
    forecast = describe_forecast(made_parts, "full", Trial({"molecules": rate, "crystals": rate}, 5, 0.0))
    assert forecast.rates["molecules"].label_seconds == pytest.approx(1.0)
    assert forecast.rates["crystals"] == rate
    assert "the rates of crystals are of 5 structures each" in forecast.assumption


def test_a_forecast_without_trial_says_what_is_unknown(tmp_path: Path) -> None:
    forecast = describe_forecast(MadeParts(tmp_path, parse_recipe(RECIPE)), "full")
    assert set(forecast.unknown) == {"molecules", "crystals"}
    assert "structures each" not in forecast.assumption


@pytest.mark.parametrize("flags", [["--probe"], ["--probe", "--dry-run", "--gateway", "http://127.0.0.1:1", "--unchecked"]])
def test_a_trial_goes_with_a_forecast_in_this_process_alone(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("teacher: fake", "teacher: 7net-0"))
    result = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml"), *flags])
    assert isinstance(result.exception, InvalidRequest)
    assert "--dry-run" in str(result.exception)


def test_a_dry_run_with_a_trial_tells_time_and_disk_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "metals.yaml").write_text(METALS)
    done = distillery("run", "metals.yaml", "--dry-run", "--probe", cwd=tmp_path)
    assert done.returncode == 0, done.output
    assert "time left: about" in done.output
    assert "disk: about" in done.output
    assert "unknown" not in done.output
    assert "crystals: 5/5 labelled" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["metals.yaml"]


def test_a_forecast_counts_what_came_in_the_place_of_outliers(tmp_path: Path) -> None:
    def spoil(structure: Structure, label: Label) -> Label:
        return replace(label, energy=label.energy + 60.0 * len(structure)) if structure.id == "full-molecules-00000/0003" else label

    write_parts(tmp_path, relabel=spoil)
    made_parts = write_parts(tmp_path, only=lambda shard: not part_path(tmp_path, shard.name).exists(), relabel=spoil)
    n_shards = len(list(made_parts.make_plan().shards()))
    assert n_shards == 7  # six, and one in the place of what was left out
    forecast = describe_forecast(made_parts, "full")
    assert (forecast.parts, forecast.parts_done) == (n_shards, n_shards)
    part_path(tmp_path, "full-molecules-00000").unlink()
    assert describe_forecast(MadeParts(tmp_path, parse_recipe(RECIPE)), "full").rest.n_structures == 15
