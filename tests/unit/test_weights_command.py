"""`distillery weights`, and a service that waits for its weights."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

import distillery.http.app
import distillery.weights.fetch
from cli.exit_codes import ERROR, GO, NO_GO
from cli.main import app
from distillery.errors import InvalidRequest, NotFound
from distillery.http.app import create_base_app
from distillery.schema.base import Message
from distillery.weights.catalogue import Catalogue, ensure_checkpoint, read_weights_file
from distillery.weights.http_download import download
from tests.file_server import FileServer, serve_files
from tests.serving import free_port, serve, wait_for_answer

ROOT = Path(__file__).parents[2]
A, B = b"a" * 100_000, b"b" * 1000
CATALOGUE = """
licence: MIT
source: https://example.org
note: {note}
sets:
  one: {{note: the first, files: {{a.pt: {{url: {url}/a.pt, sha256: {sha256}, bytes: 100000}}}}}}
  two: {{files: {{b.pt: {{url: {url}/b.pt}}}}}}
"""

LOADING = """
import asyncio, sys
from pathlib import Path
from distillery.http.app import create_base_app
from distillery.weights.catalogue import ensure_checkpoint

def load():
    ensure_checkpoint(Path(sys.argv[1]), "one", Path(sys.argv[2]), download=True)

async def run():
    app = create_base_app("model", "1", dict, load, lambda: None)
    async with app.router.lifespan_context(app):
        while not app.state.readiness.is_ready:
            await asyncio.sleep(0.01)

asyncio.run(run())
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files(**{"a.pt": A, "b.pt": B}) as made:
        yield made


@pytest.fixture
def service(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one service that the command knows: its sets `one` (100 kB, digest published) and `two`."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.yaml").write_text(CATALOGUE.format(url=server.url, sha256=hashlib.sha256(A).hexdigest(), note="more elsewhere"))

    def find_catalogues() -> Mapping[Path, Catalogue]:
        return {folder: read_weights_file(folder)}

    monkeypatch.setattr("cli.weights_folder.find_catalogues", find_catalogues)
    return folder


def invoke(service: Path, *arguments: str) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["weights", *arguments, "--weights", str(service.parent / "weights")])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def states(service: Path) -> list[str]:
    """What `list` says of the two sets."""
    lines = invoke(service, "list").output.splitlines()
    return [line.split("│")[3].strip() for line in lines if "model/" in line]


def test_every_set_is_listed_with_size_state_licence_and_place(service: Path) -> None:
    output = invoke(service, "list").output
    for named in ("model/one", "0.1 MiB", "model/two", "unknown", "missing", "MIT", "https://example.org", "more elsewhere"):
        assert named in output
    assert "the first" in invoke(service, "list", "model").output


def test_a_set_is_pulled_and_then_right(service: Path, server: FileServer) -> None:
    result = invoke(service, "pull", "model/one")
    assert result.exit_code == GO
    assert "1 sets, size 0.1 MiB" in result.output
    assert hashlib.sha256(A).hexdigest() in result.output
    assert states(service) == ["as published", "missing"]
    assert invoke(service, "verify").exit_code == GO


@pytest.mark.parametrize("names", [["model"], ["--all"], ["model/two", "model/one"]])
def test_all_sets_are_pulled_by_service_or_by_all(service: Path, names: list[str]) -> None:
    assert invoke(service, "pull", *names).exit_code == GO
    assert states(service) == ["as published", "as recorded"]


def test_a_set_that_fails_does_not_keep_the_others(service: Path, server: FileServer) -> None:
    del server.files["/a.pt"]
    result = invoke(service, "pull", "--all")
    assert result.exit_code == ERROR
    assert "answered 404" in result.output
    assert states(service) == ["missing", "as recorded"]


def test_a_server_out_of_reach_is_tried_once_and_told_of_once(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke(service, "pull", "model/two")
    address = f"http://127.0.0.1:{free_port()}"
    sets = "".join(f"  set{k}: {{files: {{a.pt: {{url: {address}/a{k}.pt}}}}}}\n" for k in range(9))
    (service / "weights.yaml").write_text(
        "licence: MIT\nsource: https://example.org\nsets:\n" + sets + f"  two: {{files: {{b.pt: {{url: {address}/b.pt}}}}}}\n"
    )
    tried = []
    monkeypatch.setattr(distillery.weights.fetch, "download", lambda url, *_: tried.append(url) or download(url, *_))
    result = invoke(service, "pull", "--all")
    assert result.exit_code == ERROR
    assert tried == [f"{address}/a0.pt"]
    _, there, away, advice = result.output.splitlines()
    assert there.startswith("model/two  sha256 "), "what is there needs no server"
    assert away.startswith("127.0.0.1 can't be reached (ConnectError: ")
    assert away.endswith(f": {', '.join(f'model/set{k}' for k in range(9))}")
    assert advice.startswith("What came is kept")


def test_of_a_single_set_all_is_told(service: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    (service / "weights.yaml").write_text(CATALOGUE.format(url=address, sha256=hashlib.sha256(A).hexdigest(), note="none"))
    output = invoke(service, "pull", "model/one").output
    assert f"put it at {service.parent / 'weights' / 'model' / 'one' / 'a.pt'}" in output


def test_a_download_that_broke_off_is_partly_there(service: Path, server: FileServer) -> None:
    server.breaks_after = 1000
    assert invoke(service, "pull", "model/one").exit_code == ERROR
    assert states(service) == ["partly there", "missing"]


@pytest.mark.parametrize("file", ["one/a.pt", "two/b.pt"])
def test_a_changed_file_is_found_and_the_exit_code_says_so(service: Path, file: str) -> None:
    invoke(service, "pull", "--all")
    path = service.parent / "weights" / "model" / file
    path.write_bytes(b"changed")
    result = invoke(service, "verify")
    assert result.exit_code == NO_GO
    assert str(path) in result.output
    assert hashlib.sha256(b"changed").hexdigest() in result.output
    assert "WRONG" in states(service)


def test_files_of_a_users_url_are_verified_too(service: Path, server: FileServer) -> None:
    folder = service.parent / "weights"
    made = ensure_checkpoint(service, f"{server.url}/b.pt", folder, download=True)
    assert "as recorded" in invoke(service, "verify").output
    made.files["b.pt"].write_bytes(b"changed")
    assert invoke(service, "verify").exit_code == NO_GO


def test_what_to_pull_must_be_known(service: Path) -> None:
    for names in ([], ["model", "--all"]):
        with pytest.raises(InvalidRequest, match="--all"):
            invoke(service, "pull", *names)
    with pytest.raises(NotFound, match="did you mean 'model'"):
        invoke(service, "pull", "modl")
    with pytest.raises(NotFound, match=r"no set 'three'.*more elsewhere"):
        invoke(service, "pull", "model/three")
    with pytest.raises(NotFound, match="did you mean 'model'"):
        invoke(service, "list", "modl")


def test_it_works_without_torch_and_knows_every_service_and_the_teachers(tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; sys.argv = ['distillery', 'weights', 'list']; from cli.main import main; main()"
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for named in ("mattergen/mattergen_base", "moldiff/MolDiff", "geodiff/drugs_default", "crystalflow:", "labeller/orb-v2"):
        assert named in listed


class Card(Message):
    service: str = "model"


def test_a_service_without_weights_is_alive_not_ready_and_ready_once_they_are_there(
    service: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillery.http.app, "_RELOAD_SECONDS", 0.1)
    weights, content = service.parent / "weights", server.files.pop("/a.pt")
    face = create_base_app("model", "1", Card, lambda: _load(service, weights), lambda: None)
    with serve(face, wait_until_ready=False) as url:
        while "loading" in (answer := httpx.get(f"{url}/v1/health/ready").json())["detail"]:
            pass
        assert answer["kind"] == "unavailable"
        assert f"put it at {weights}/model/one/a.pt" in answer["detail"]
        assert "distillery weights pull model/one" in answer["detail"]
        assert httpx.get(f"{url}/v1/health/live").status_code == 200
        (weights / "model" / "one" / "a.pt").write_bytes(content)
        wait_for_answer(f"{url}/v1/health/ready", seconds=30)


def _load(service: Path, weights: Path) -> None:
    ensure_checkpoint(service, "one", weights, download=True)


def test_a_service_shows_its_downloads_on_stderr(service: Path) -> None:
    command = [sys.executable, "-c", LOADING, str(service), str(service.parent / "weights")]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60).stderr
    assert "downloading a.pt.partial, " in shown
    assert "100000 bytes" in shown
