"""Commands that steer a gateway from a terminal, show how far datasets are, and write a first recipe."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.completion import complete_dataset, complete_recipe, complete_side, complete_stage
from cli.init import write_recipe
from cli.main import app
from cli.run import conclude
from cli.status import show
from distillery.dataset.splits import SIDES
from distillery.errors import InvalidRequest, NotFound
from distillery.generators.service import ServiceSettings, create_app
from distillery.recipe.reading import parse_recipe
from distillery.schema.dataset import InWork, SourceProgress, Status
from distillery.schema.problem import ProblemDocument
from distillery.schema.report import GateRecord, StageName
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.dataset_folder import write_parts
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, two_fakes
from tests.serving import serve


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose sources take half a minute a shard, with a dataset `small` at work."""
    data, generators = tmp_path_factory.mktemp("data"), two_fakes()
    for generator in generators.values():
        generator.seconds = 30
    with ExitStack() as stack:
        urls = {name: stack.enter_context(serve(create_app(one, ServiceSettings(concurrency=4)))) for name, one in generators.items()}
        labeller = stack.enter_context(serve(create_labeller(FakeTeacher(), LabellerSettings(data=data, self_test=False))))
        settings = GatewaySettings(data=data, labeller=labeller, services=urls, page=False)
        url = stack.enter_context(serve(create_gateway(settings)))
        httpx.post(f"{url}/v1/datasets", content=RECIPE).raise_for_status()
        yield url


def say(*arguments: str, input: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments, input=input)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_a_dataset_is_paused_resumed_cancelled_and_deleted_from_a_terminal(gateway: str) -> None:
    assert say("pause", "small", "--gateway", gateway) == (0, "small is paused\n")
    assert say("resume", "small", "--gateway", gateway) == (0, "small is running\n")
    (status,) = json.loads(say("status", "--gateway", gateway, "--json")[1])
    assert (status["name"], status["state"]) == ("small", "running")
    assert say("cancel", "small", "--gateway", gateway) == (0, "small is cancelled\n")
    assert "cancelled" in say("status", "small", "--gateway", gateway, "--watch")[1]
    assert json.loads(say("status", "small", "--gateway", gateway, "--watch", "--json")[1])[0]["state"] == "cancelled"
    assert "state=cancelled" in say("logs", "small", "--gateway", gateway)[1]
    with pytest.raises(InvalidRequest, match="another name"):
        say("delete", "small", "--gateway", gateway, input="smal\n")
    assert say("delete", "small", "--gateway", gateway, input="small\n")[1].endswith("small is deleted\n")
    assert json.loads(say("status", "--gateway", gateway, "--json")[1]) == []


def test_several_datasets_have_a_line_each_and_one_all_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    row = SourceProgress(wanted=50, labelled=20, in_work=InWork(label=1))
    problem = ProblemDocument(type="about:blank", title="unavailable", status=503, kind="unavailable", detail="no teacher\nsee its log")
    making = Status(name="making", state="running", teacher="7net-0", sources={"one": row, "two": row})
    standing = Status(name="standing", state="failed", teacher="7net-0", sources={"one": row}, problem=problem)
    show([making, standing], Console(width=120))
    lines = [line for line in capsys.readouterr().out.splitlines() if "7net-0" in line]
    assert [line.strip("│ ").split("│")[3].strip() for line in lines] == ["40/100", "20/50"]
    assert "labelling one, two" in lines[0]
    assert "no teacher" in lines[1]
    show([making], Console(width=120))
    told = capsys.readouterr().out
    assert [line.split()[1] for line in told.splitlines() if "│ 50" in line] == ["one", "two"]
    assert "\nlabelling one, two\n" in told


def test_on_a_narrow_terminal_no_number_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    row = SourceProgress(wanted=120_000, labelled=104_321, duplicates=300, shards=600, shards_done=522)
    one = Status(name="a_dataset", state="running", teacher="7net-0", sources={"molecules": row})
    show([one], Console(width=40))
    words = " ".join(capsys.readouterr().out.split())
    assert "molecules: 104021 of 120000 shards 522/600 rejected 300 duplicate" in words
    show([one, one], Console(width=40))
    assert capsys.readouterr().out.count("a_dataset  running  104021/120000") == 2


def test_words_of_a_teacher_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup of the terminal's: a closing one without an opening one ended the command."""
    said = "no [b]weights[/b] in [/data/x.pt]"
    gate = GateRecord(
        gate="teacher_success", scope="all", value=0, sign=">", threshold=1, ceiling=1, required=True, passed=False, meaning="", detail=said
    )
    problem = ProblemDocument(type="about:blank", title="unavailable", status=503, kind="unavailable", detail=said)
    row = SourceProgress(wanted=1)
    done = Status(name="a", state="finished", verdict="NO-GO", scenario="A", teacher="7net-0", sources={"one": row}, failed_gates=[gate])
    conclude(done, Console(width=200), "data/[/a]/")
    failed = Status(name="b", state="failed", teacher="7net-0", sources={"one": row}, problem=problem)
    show([failed, failed], Console(width=200))
    told = capsys.readouterr().out
    assert told.count(said) == 3
    assert "dataset  data/[/a]/dataset.h5" in told


def test_a_verb_without_a_gateway_says_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match=r"--gateway URL.*Ctrl-C"):
        say("pause", "small")


def test_without_a_gateway_logs_have_a_line_a_part_with_times_that_say_what_they_are(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path / "small", generate_seconds=2.04)
    lines = say("logs", "small", "--data", str(tmp_path))[1].splitlines()
    assert len(lines) == len(list(made_parts.folder.glob("parts/*.h5")))
    assert all(re.search(r"\d refused; made in 2\.0 s, labelled in \d+\.\d s$", line) for line in lines), lines


@pytest.mark.parametrize("name", ["", ".", ".."])
@pytest.mark.parametrize("words", [("pause",), ("delete", "--yes"), ("logs",)])
def test_a_name_that_leads_elsewhere_is_no_dataset(gateway: str, name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="there is no dataset"):
        say(*words, name, "--gateway", gateway)


def test_a_dataset_here_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "recipe.yaml").write_text(RECIPE)
    assert say("delete", "small", "--data", str(tmp_path), "--yes")[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("elements", "teacher", "sources"),
    [
        ("Fe,O", "7net-0", {"crystals", "clusters", "surfaces"}),
        ("H,C,N,O", "7net-0", {"molecules", "crystals", "clusters", "surfaces"}),
        ("Fe,C,O", "nobody-knows", {"molecules", "crystals", "clusters", "surfaces"}),
        ("H,C,N,O", "gfn2-xtb", {"molecules", "clusters"}),
    ],
)
def test_a_recipe_of_some_elements_is_one_and_has_as_many_structures_as_are_wanted(
    elements: str, teacher: str, sources: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeller.teachers.find_spec", lambda package: True)  # whatever is installed here
    recipe = parse_recipe(write_recipe("mine", elements.split(","), 500, teacher))
    assert recipe.size == 500
    assert set(recipe.sources) == sources
    known = {"molecules": {"H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I", "B"}}
    assert all(set(own.elements or recipe.elements) <= known.get(name, {*recipe.elements}) for name, own in recipe.sources.items())


@pytest.mark.parametrize(("elements", "n", "counts"), [("Fe O", 5000, [2500, 1667, 833]), ("Fe O", 4, [2, 1, 1]), ("H C", 4, [2, 1, 1])])
def test_the_structures_of_a_first_recipe_are_shared_out_as_near_as_whole_numbers_allow(elements: str, n: int, counts: list[int]) -> None:
    recipe = parse_recipe(write_recipe("mine", elements.split(), n, "7net-0"))
    assert [source.count for source in recipe.sources.values()] == counts


def test_a_first_recipe_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "fe-o.yaml is written; `distillery check fe-o.yaml` says" in say("init", "--elements", "Fe,O", "--n", "50")[1]
    assert parse_recipe(Path("fe-o.yaml").read_text()).size == 50
    with pytest.raises(InvalidRequest, match="--force"):
        say("init", "--elements", "Fe,O", "--n", "60")
    assert say("init", input="Si\n40\nquestions\n7net-0\n")[0] == 0
    assert parse_recipe(Path("questions.yaml").read_text()).size == 40


def test_an_answer_that_makes_no_recipe_is_asked_for_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = say("init", input="Si,Oo\nSi,O\nmany\n3\n40\nquestions\n\n")
    assert (code, parse_recipe(Path("questions.yaml").read_text()).size) == (0, 40)
    assert [word in said for word in ("did you mean 'O'", "many came", "3 came")] == [True] * 3


@pytest.mark.parametrize(("given", "meant"), [("fe", "Fe"), ("C,SI", "Si"), ("Fe,Oo", "O")])
def test_what_is_no_element_is_named_with_the_one_that_is_meant(given: str, meant: str) -> None:
    with pytest.raises(InvalidRequest, match=f"is no element; did you mean '{meant}'"):
        say("init", "--elements", given, "--n", "50")


def test_the_shell_is_offered_datasets_and_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("small", "smart", "large"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "recipe.yaml").touch()
    (tmp_path / "first.yaml").touch()
    (tmp_path / "first.txt").touch()
    assert complete_dataset("sm") == ["small", "smart"]
    assert complete_recipe("fi") == ["first.yaml"]
    assert complete_recipe("data/sm") == [f"data{os.sep}small/", f"data{os.sep}smart/"]


def complete(*words: str) -> list[str]:
    """What bash is offered for the last word of a command."""
    environment = {
        **os.environ,
        "COMP_WORDS": " ".join(["distillery", *words]),
        "COMP_CWORD": str(len(words)),
        "_DISTILLERY_COMPLETE": "complete_bash",
    }
    code = "import sys; sys.argv[0] = 'distillery'; from cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["services", "py"], ["pymatgen"]),
        (["serve", "la"], ["labeller"]),
        (["serve", "ge"], ["geodiff"]),
        (["weights", "list", "matt"], ["mattergen"]),
        (["label", "x.cif", "--teacher", "7n"], ["7net-0"]),
        (["label", "x.cif", "--teacher", "uma"], ["uma-"]),
        (["init", "--teacher", "orb-v2"], ["orb-v2"]),
        (["run", "x.yaml", "--until", "p"], ["pilot"]),
        (["run", "x.yaml", "--stage", "t"], ["test"]),
        (["export", "x", "--to", "mace"], ["mace", "mace-hdf5"]),
        (["export", "x", "--to", "ase"], ["ase-db", "aselmdb"]),
        (["export", "x", "--split", "v"], ["val"]),
        (["export", "x", "--system", "c"], ["crystal", "cluster"]),
    ],
)
def test_the_shell_is_offered_choices(words: list[str], offered: list[str]) -> None:
    assert complete(*words) == offered


def test_stages_and_sides_that_are_offered_are_those_that_there_are() -> None:
    assert complete_stage("") == list(get_args(StageName))
    assert complete_side("") == [*SIDES, "all"]


def test_the_page_of_a_gateway_or_a_report_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("cli.open.typer.launch", opened.append)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "small" / "report.html").touch()
    say("open", "small", "--gateway", "http://127.0.0.1:8000")
    say("open", "small", "--data", str(tmp_path))
    assert opened == ["http://127.0.0.1:8000/datasets/small", (tmp_path / "small" / "report.html").resolve().as_uri()]


@pytest.mark.parametrize("name", ["2024", "1e3", "0x1F", "true", "Null", "plain-name", "2024-01-01"])
def test_a_recipe_that_is_begun_has_the_name_that_was_given(name: str) -> None:
    assert parse_recipe(write_recipe(name, ["C", "H"], 20, "7net-0")).name == name
