"""From pilot to full: gates decide whether the next stage begins, which shares are tried, and where it all ends."""

import asyncio
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cli.live import choose_view, follow
from distillery.dataset.folder import list_parts, part_path
from distillery.dataset.parts import read_part, write_part
from distillery.errors import Unsupported
from distillery.generators.generator import Task
from distillery.http.client import Client
from gateway.run import Run
from tests.command import ROOT, distillery
from tests.fake_service import FakeGenerator
from tests.integration.factory import RECIPE, factory, identity, two_fakes, until, wait_for

STAGED = RECIPE + "stages: {pilot: {per_source: 3}, test: {total: 16}, full: {wave: 8}}\n"
HYBRID = (
    STAGED.replace("count: 12", "count: 12, generative: true")
    + "generative_fraction: 0.7\nrebalance: [0.5, 0.3]\ngates: {element_entropy: {threshold: 2.45, required: true}}\n"
)


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


async def make_in(data: Path, recipe: str = STAGED, generators: dict[str, FakeGenerator] | None = None, **target: str) -> dict[str, Any]:
    async with factory(data, generators or two_fakes()) as client:
        return await ask_for(client, recipe, **target)


async def ask_for(client: httpx.AsyncClient, recipe: str = STAGED, **target: str) -> dict[str, Any]:
    answer = await client.post("/v1/datasets", content=recipe, params=target)
    assert answer.status_code == 202, answer.text
    return await wait_for(client, "finished", "failed")


def report(data: Path) -> dict[str, Any]:
    return json.loads((data / "small" / "report.json").read_text())


def stages_of(data: Path) -> Counter[str]:
    return Counter(id.split("-")[0] for id, _ in identity(data))


def two_elements() -> dict[str, FakeGenerator]:
    """The generative source knows two elements only: the larger its share, the lower the entropy."""
    generators = two_fakes()
    generators["other"].use = ("H", "C")
    return generators


def test_all_stages_are_go_and_make_one_dataset(tmp_path: Path) -> None:
    status = run(make_in(tmp_path))
    assert (status["state"], status["verdict"], status["stage"]) == ("finished", "GO", "full")
    assert stages_of(tmp_path) == {"pilot": 6, "test": 10, "full": 16}
    found = report(tmp_path)
    assert [(row["stage"], row["verdict"], row["n_structures"]) for row in found["stages"]] == [
        ("pilot", "GO", 6),
        ("test", "GO", 16),
        ("full", "GO", 32),
    ]
    assert [row["n_structures"] for row in found["checkpoints"]] == [6, 16, 24, 32]
    assert json.loads((tmp_path / "small" / "checkpoints.json").read_text()) == found["checkpoints"]
    assert found["sources"]["one"]["wanted"] == found["sources"]["one"]["kept"] == 20
    assert found["scenario"]["text"] == "A: every source made its own structures"


def test_every_wave_is_made_before_the_next_begins_and_events_say_so(tmp_path: Path) -> None:
    async def main() -> str:
        async with factory(tmp_path, two_fakes()) as client:
            await ask_for(client)
            return (await client.get("/v1/datasets/small/events")).text

    events = [block.split("\n") for block in run(main()).strip().split("\n\n")]
    told = [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for _, kind, data in events]
    story = [(kind, data["stage"], data["wave"]) for kind, data in told if kind in {"round", "checkpoint", "verdict"}]
    assert story == [
        ("round", "pilot", 1),
        ("verdict", "pilot", 1),
        ("round", "test", 1),
        ("verdict", "test", 1),
        ("round", "full", 1),
        ("checkpoint", "full", 1),
        ("round", "full", 2),
        ("verdict", "full", 2),
    ]


def test_the_terminal_tells_stages_waves_and_verdicts(tmp_path: Path) -> None:
    told = io.StringIO()

    async def main() -> None:
        async with factory(tmp_path, two_elements()) as client:
            await follow(Client("the gateway", client), HYBRID, choose_view(Console(file=told, width=200)), {"until": "full"})

    run(main())
    lines = told.getvalue().splitlines()
    story = [
        "stage pilot: 6 structures by its end",
        "stage pilot, generative fraction 0.7: GO  6 structures",
        "stage test, generative fraction 0.7: NO-GO  16 structures  failed: element_entropy (all)",
        "stage test, generative fraction 0.5: GO  16 structures",
        "checkpoint full, wave 1 of 2, generative fraction 0.5: GO  26 structures",
        "stage full, generative fraction 0.5: GO  32 structures",
    ]
    assert [line for line in lines if line in story] == story


def test_a_pilot_that_is_no_go_stops_before_the_test_and_says_why(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["other"].composition = "fixed"
    status = run(make_in(tmp_path, generators=generators))
    assert (status["state"], status["verdict"], status["stage"]) == ("finished", "NO-GO", "pilot")
    assert set(status["reasons"]) == {"distinct_compositions (two)", "distinct_sizes (two)"}
    assert stages_of(tmp_path) == {"pilot": 6}
    assert {part.split("-")[0] for part in list_parts(tmp_path / "small")} == {"pilot"}
    assert report(tmp_path)["stage"] == "pilot"


def test_gates_that_are_relaxed_let_a_stopped_dataset_go_on(tmp_path: Path) -> None:
    strict = STAGED.replace("total: 16", "total: 16, gates: {element_entropy: {threshold: 3.5, required: true}}")
    assert run(make_in(tmp_path, strict))["reasons"] == ["element_entropy (all)"]
    assert stages_of(tmp_path) == {"pilot": 6, "test": 10}
    assert run(make_in(tmp_path))["verdict"] == "GO"
    run(make_in(tmp_path / "straight"))
    assert identity(tmp_path) == identity(tmp_path / "straight")


def test_rebalancing_finds_the_share_that_passes_and_all_of_it_is_recorded(tmp_path: Path) -> None:
    status = run(make_in(tmp_path, HYBRID, two_elements()))
    assert (status["verdict"], status["stage"]) == ("GO", "full")
    found = report(tmp_path)
    story = [(row["stage"], row["generative_fraction"], row["verdict"], row["reasons"]) for row in found["stages"]]
    assert story == [
        ("pilot", 0.7, "GO", []),
        ("test", 0.7, "NO-GO", ["element_entropy (all)"]),
        ("test", 0.5, "GO", []),
        ("full", 0.5, "GO", []),
    ]
    assert {name: row["kept"] for name, row in found["sources"].items()} == {"one": 16, "two": 16}
    assert found["totals"]["n_structures"] == 32


def test_a_rebalanced_test_leaves_the_surplus_out(tmp_path: Path) -> None:
    run(make_in(tmp_path, HYBRID, two_elements(), until="test"))
    found = report(tmp_path)
    assert {name: row["kept"] for name, row in found["sources"].items()} == {"one": 8, "two": 8}
    assert found["sources"]["two"]["rejected"] == {"dataset: surplus": 3}
    assert len(identity(tmp_path)) == 16


def test_other_gates_of_a_recipe_that_rebalances_count_from_here_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_elements()) as client:
            await ask_for(client, HYBRID, until="pilot")
            answer = await client.post("/v1/datasets", content=HYBRID.replace("2.45", "2.4"))
            assert answer.status_code == 202

    run(main())


def test_until_stops_after_a_stage_and_the_same_recipe_goes_on_from_there(tmp_path: Path) -> None:
    status = run(make_in(tmp_path, until="test"))
    assert (status["state"], status["verdict"], status["stage"], status["until"]) == ("finished", "GO", "test", "test")
    assert stages_of(tmp_path) == {"pilot": 6, "test": 10}
    generators = two_fakes()
    assert run(make_in(tmp_path, generators=generators))["stage"] == "full"
    assert {shard.split("-")[0] for generator in generators.values() for shard in generator.calls} == {"full"}
    run(make_in(tmp_path / "straight"))
    assert identity(tmp_path) == identity(tmp_path / "straight")


def test_until_holds_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["fake"].seconds = 0.3
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=STAGED, params={"until": "test"})
            await until(lambda: generators["fake"].calls)
            refused = await client.post("/v1/datasets", content=STAGED)
            assert refused.status_code == 409
            assert "end of stage test" in refused.json()["detail"]
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            assert (await wait_for(client, "finished"))["stage"] == "test"

    run(main())
    assert stages_of(tmp_path) == {"pilot": 6, "test": 10}


def test_a_request_that_could_not_be_written_is_not_made_after_a_restart(tmp_path: Path) -> None:
    """Neither to its own end nor, its target lost, to that of the recipe."""
    obstacle = tmp_path / "small" / "state.json"
    obstacle.mkdir(parents=True)

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            answer = await client.post("/v1/datasets", content=STAGED, params={"until": "pilot"})
            assert (answer.status_code, answer.json()["kind"]) == (503, "unavailable")
        obstacle.rmdir()
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            assert (await client.get("/v1/datasets")).json() == []

    run(main())


def test_a_continuation_that_was_accepted_is_taken_up_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(own: Run) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            assert (await ask_for(client, until="pilot"))["stage"] == "pilot"
            with monkeypatch.context() as patch:
                patch.setattr(Run, "make", hang)
                assert (await client.post("/v1/datasets", content=STAGED)).status_code == 202
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            assert (await wait_for(client, "finished"))["stage"] == "full"

    run(main())


def test_a_dataset_is_not_cut_back_by_an_earlier_stage(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "small").iterdir() if path.is_file()}

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            for target in ({"until": "test"}, {"stage": "pilot"}):
                answer = await client.post("/v1/datasets", content=STAGED, params=target)
                assert answer.status_code == 409
                assert "has parts of stage full already" in answer.json()["detail"]

    run(main())
    assert {path: path.read_bytes() for path in (tmp_path / "small").iterdir() if path.is_file()} == before


def test_gates_that_would_have_stopped_a_dataset_earlier_are_an_error(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    before = identity(tmp_path)
    status = run(make_in(tmp_path, STAGED.replace("total: 16", "total: 16, gates: {element_entropy: {threshold: 3.5, required: true}}")))
    assert status["state"] == "failed"
    assert "the dataset ends with stage test: element_entropy (all)" in status["problem"]["detail"]
    assert identity(tmp_path) == before
    assert run(make_in(tmp_path))["verdict"] == "GO"


def test_one_stage_alone_needs_those_before_it(tmp_path: Path) -> None:
    status = run(make_in(tmp_path, stage="test"))
    assert status["state"] == "failed"
    assert "stage pilot is not complete" in status["problem"]["detail"]
    assert not list_parts(tmp_path / "small")
    assert run(make_in(tmp_path, stage="pilot"))["stage"] == "pilot"
    assert run(make_in(tmp_path, stage="test"))["verdict"] == "GO"
    assert stages_of(tmp_path) == {"pilot": 6, "test": 10}


def test_one_stage_alone_is_not_made_after_a_no_go(tmp_path: Path) -> None:
    strict = STAGED.replace("per_source: 3", "per_source: 3, gates: {mean_atoms: {required: true}}")
    run(make_in(tmp_path, strict, until="pilot"))
    status = run(make_in(tmp_path, strict, stage="test"))
    assert status["state"] == "failed"
    assert "stage pilot is NO-GO: mean_atoms (all)" in status["problem"]["detail"]


@pytest.mark.parametrize("target", [{"until": "tset"}, {"stage": "test", "until": "test"}, {"until": "pilot"}])
def test_a_wish_that_makes_no_sense_is_refused(tmp_path: Path, target: dict[str, str]) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            for path in ("/v1/datasets", "/v1/datasets/plan"):
                assert (await client.post(path, content=RECIPE, params=target)).status_code == 400
            assert (await client.get("/v1/datasets")).json() == []

    run(main())


def test_a_wish_that_its_recipe_knows_no_more_hides_no_other_dataset(tmp_path: Path) -> None:
    run(make_in(tmp_path, until="pilot"))
    (tmp_path / "small" / "recipe.yaml").write_text(RECIPE)

    async def main() -> None:
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            await wait_for(client, "failed")
            (row,) = (await client.get("/v1/datasets")).json()
            assert row["state"] == "failed"
            assert "small has no stage pilot" in row["problem"]["detail"]

    run(main())


@pytest.mark.parametrize("stage", ["pilot", "test", "full"])
def test_cancelled_in_the_middle_of_a_stage_it_ends_the_same(tmp_path: Path, stage: str) -> None:
    generators = two_elements()
    generators["fake"].made = 4

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            generators["other"].seconds = 0.15
            await client.post("/v1/datasets", content=HYBRID)
            await until(lambda: any(shard.startswith(stage) for shard in generators["other"].calls))
            assert (await client.post("/v1/datasets/small/cancel")).json()["state"] == "cancelled"
        generators["other"].seconds = 0.0
        async with factory(tmp_path, generators) as client:
            assert (await client.get("/v1/datasets/small")).json()["stage"] == stage
            await client.post("/v1/datasets/small/resume")
            await wait_for(client, "finished")

    run(main())
    undisturbed = two_elements()
    undisturbed["fake"].made = 4
    run(make_in(tmp_path / "straight", HYBRID, undisturbed))
    assert identity(tmp_path) == identity(tmp_path / "straight")
    assert report(tmp_path)["checkpoints"] == report(tmp_path / "straight")["checkpoints"]


@pytest.mark.parametrize(
    ("change", "said"), [({"requested": 2}, "a request for 2 structures"), ({"start": 1}, "after 1 others; the plan asks for")]
)
def test_a_part_that_came_of_another_request_is_refused(tmp_path: Path, change: dict[str, int], said: str) -> None:
    run(make_in(tmp_path))
    path = part_path(tmp_path / "small", "test-one-00000")
    part = read_part(path)
    path.unlink()
    record = part.receipt.record.model_copy(update=change)
    write_part(path, part.receipt.model_copy(update={"record": record}), part.arrays)
    status = run(make_in(tmp_path))
    assert status["state"] == "failed"
    assert said in status["problem"]["detail"]


def test_the_report_says_who_stood_in_for_whom_and_why(tmp_path: Path) -> None:
    def refuse(task: Task, call: int) -> None:
        raise Unsupported("no model for these elements")

    generators = two_fakes()
    generators["fake"].script = refuse
    status = run(make_in(tmp_path, STAGED.replace("count: 20", "count: 20, fallback: two"), generators))
    assert status["scenario"] == "B: two for one (fake: no model for these elements)"
    (stand_in,) = report(tmp_path)["scenario"]["stand_ins"]
    assert (stand_in["source"], stand_in["by"], stand_in["n_structures"]) == ("one", "two", 20)


def test_a_source_that_fell_short_is_said_to_have(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].made = 0
    status = run(make_in(tmp_path, RECIPE.replace("count: 20", "count: 20, fallback: two, attempts: 1"), generators))
    assert status["scenario"] == "B: two for one (of 20 structures asked of one, 0 could be used)"


def test_a_plan_is_shown_without_anything_being_started(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        generators = two_fakes()
        async with factory(tmp_path, generators) as client:
            found = (await client.post("/v1/datasets/plan", content=STAGED)).json()
            assert (await client.get("/v1/datasets")).json() == []
        assert not any(generator.calls for generator in generators.values())
        return found

    found = run(main())
    assert not list(tmp_path.iterdir())
    assert [(stage["stage"], stage["n_structures"], stage["waves"]) for stage in found["stages"]] == [
        ("pilot", 6, 1),
        ("test", 16, 1),
        ("full", 32, 2),
    ]
    assert set(found["unknown"]) == {"one", "two"}
    assert found["rest"]["seconds"] == 0


def test_after_a_pilot_the_plan_knows_rates_and_shards(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].made = 2
    generators["other"].seconds = 0.1

    async def main() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        async with factory(tmp_path, generators) as client:
            await ask_for(client, until="pilot")
            pilot = report(tmp_path)
            before = (await client.post("/v1/datasets/plan", content=STAGED)).json()
            generators["other"].seconds = 0.0
            await ask_for(client)
            return pilot, before, (await client.get("/v1/datasets/small/plan")).json(), report(tmp_path)

    pilot, before, after, found = run(main())
    assert before["unknown"] == {}
    assert before["rates"]["one"]["acceptance"] == pytest.approx(4 / 5)
    assert pilot["sources"]["two"]["generate_seconds"] >= 0.1
    assert before["rates"]["two"]["generate_seconds"] == pytest.approx(pilot["sources"]["two"]["generate_seconds"] / 3, abs=1e-3)
    assert before["rest"]["seconds"] > 0.2
    assert before["rest"]["dataset_bytes"] == pytest.approx(found["totals"]["n_bytes"], rel=0.9)
    assert before["parts_done"] == 3
    assert (after["rest"]["n_structures"], after["parts_done"]) == (0, after["parts"])


def test_a_plan_stops_where_the_gates_stopped(tmp_path: Path) -> None:
    strict = STAGED.replace("per_source: 3", "per_source: 3, gates: {mean_atoms: {required: true}}")

    async def main() -> dict[str, Any]:
        async with factory(tmp_path, two_fakes()) as client:
            await ask_for(client, strict)
            return (await client.get("/v1/datasets/small/plan")).json()

    (pilot,) = run(main())["stages"]
    assert (pilot["verdict"], pilot["reasons"]) == ("NO-GO", ["mean_atoms (all)"])


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    text = (ROOT / "recipes" / "quickstart.yaml").read_text() + "stages: {pilot: {per_source: 5}, test: {total: 40}}\n"
    (tmp_path / "staged.yaml").write_text(text)
    done = distillery("run", "staged.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.output
    for line in (
        "stage pilot: 20 structures, 0 of 4 shards are there",
        "stage full: 480 structures",
        "time and disk of clusters, crystals, molecules, surfaces are unknown",
    ):
        assert line in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["staged.yaml"]


def test_a_stage_that_the_recipe_does_not_have_is_refused_by_the_command(tmp_path: Path) -> None:
    done = distillery("run", str(ROOT / "recipes" / "quickstart.yaml"), "--until", "test", cwd=tmp_path)
    assert done.returncode == 1
    assert "quickstart has no stage test; its stages are full" in done.output
    done = distillery("run", str(ROOT / "recipes" / "quickstart.yaml"), "--until", "tset", cwd=tmp_path)
    assert "did you mean 'test'?" in done.output
    assert not list(tmp_path.iterdir())


def test_long_waves_are_judged_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.planning.planner.CHECKPOINT_EVERY", 6)
    run(make_in(tmp_path, STAGED.replace("wave: 8", "wave: 20")))
    full = [row for row in report(tmp_path)["checkpoints"] if row["stage"] == "full"]
    assert [(row["wave"], row["stretch"], row["n_structures"]) for row in full] == [(1, 1, 22), (1, 2, 27), (1, None, 32)]
