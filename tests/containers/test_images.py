"""Each image as it was built: who it runs as, what it holds, how large it is."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from tests.containers.engine import PACKAGES, ROOT, SERVICES, SITE, docker, inspect_image, run_in

LARGEST_MB = {
    "gateway": 1300,
    "rdkit": 950,
    "pymatgen": 1150,
    "ase": 800,
    "benchmarks": 800,
    "optimade": 800,
    "structures": 800,
    "labeller": 8500,
}
LARGEST_MB |= dict.fromkeys(("chemeleon", "crystalflow", "geodiff", "mattergen", "moldiff"), 7500)
"""Size budgets, 10^6 bytes; docs/docker.md has the sizes."""
NAMES = sorted(LARGEST_MB)
OWN_VARIABLES = ("DISTILLERY_SERVE", "DISTILLERY_PRIVATE_NETWORK", "UPSTREAM_DIR", "CUBLAS_WORKSPACE_CONFIG", "MALLOC_ARENA_MAX")
LIST_PACKAGES = 'from importlib.metadata import distributions; print(*(f"{d.name.lower()}=={d.version}" for d in distributions()))'
CACHES = "/root/.cache /var/lib/apt/lists /var/cache/apt /wheels /run/secrets /tmp"
AS_ITSELF = {
    "user": "id -u; id -g",
    "python": "python --version",
    "code": f"cd {SITE} && find {' '.join(PACKAGES)} -type f -not -name '*.pyc' -exec sha256sum {{}} +",
    "packages": f"python -c '{LIST_PACKAGES}'",
}
AS_ROOT = {
    "caches": f"find {CACHES} -type f 2>/dev/null",
    "settings": "cat /etc/pip.conf /root/.config/pip/pip.conf /root/.pip/pip.conf 2>/dev/null; env | grep -iE '^(pip|ssl)_'",
    "certificates": "grep -rlF CERTIFICATES /etc/ssl /opt/*/lib/python3.12/site-packages/certifi 2>/dev/null",
}
"""What is asked of an image in one container each, for a container takes a second to start."""
COMMANDS = ("status", "services rdkit", "export x.h5 --to extxyz", "verify --help", "weights pull labeller/orb-v2")
LOADS_MUCH = {"gateway": ("services", "run r.yaml"), "rdkit": ("services", "run r.yaml"), "labeller": ()}
"""Commands that are tried as well, but in the labeller's image, where they take a minute to load torch and all that uses it."""
RECIPE = "{name: r, seed: 1, elements: [H, C], teacher: 7net-0, sources: {molecules: {service: rdkit, system: molecule, count: 1}}}"
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(all_images: dict[str, str], name: str) -> str:
    if name not in all_images:
        pytest.skip(
            f"needs upstream's code of {name}: set DISTILLERY_UPSTREAM to a folder with checkouts and run docker/build-airgapped.sh"
        )
    return all_images[name]


@pytest.fixture(scope="module")
def answers(all_images: dict[str, str]) -> dict[str, dict[str, str]]:
    """What every image answers to AS_ITSELF and AS_ROOT, by image and question."""
    return {image: ask(image, AS_ITSELF) | ask(image, AS_ROOT, "--user", "0") for image in all_images.values()}


@pytest.fixture
def answer(answers: dict[str, dict[str, str]], image: str) -> dict[str, str]:
    return answers[image]


def ask(image: str, questions: dict[str, str], *options: str) -> dict[str, str]:
    """The answers of one throw-away container to several shell questions."""
    script = "".join(f"echo '== {name}'\n{question}\n" for name, question in questions.items())
    output = run_in(image, script.replace("CERTIFICATES", own_certificates()) + "true", *options)
    parts = [part.partition("\n") for part in output.split("== ")[1:]]
    return {name: text.strip() for name, _, text in parts}


def own_certificates() -> str:
    """grep's options for a line of every certificate that this machine trusts beyond the usual."""
    extra = [line for path in Path("/usr/local/share/ca-certificates").glob("*.crt") for line in path.read_text().splitlines()[1:2]]
    return " ".join(f"-e {line}" for line in [*extra, "no-certificate-has-this-line"])


def test_every_image_has_a_budget(all_images: dict[str, str]) -> None:
    assert {"gateway", "labeller", *SERVICES} == set(NAMES)
    assert all_images.keys() <= set(NAMES)


def test_it_runs_as_a_user_that_is_not_root(image: str, answer: dict[str, str]) -> None:
    assert inspect_image(image)["Config"]["User"] == "10001:10001"
    assert answer["user"].split() == ["10001", "10001"]


def test_it_has_a_healthcheck_on_ready(image: str) -> None:
    check = inspect_image(image)["Config"]["Healthcheck"]
    assert check["Test"][0] == "CMD"
    assert "/v1/health/ready" in check["Test"][-1]


def test_its_command_is_the_process_itself(image: str) -> None:
    config = inspect_image(image)["Config"]
    assert config["Entrypoint"] is None
    assert config["Cmd"][:2] == ["distillery", "serve"]


def test_it_stays_within_its_size(image: str, name: str) -> None:
    assert inspect_image(image)["Size"] < LARGEST_MB[name] * 10**6


def test_it_is_python_3_12(answer: dict[str, str]) -> None:
    assert answer["python"].startswith("Python 3.12.")


def test_no_package_caches_are_left(answer: dict[str, str]) -> None:
    assert answer["caches"] == ""


def test_nothing_of_the_build_machine_is_left(image: str, answer: dict[str, str]) -> None:
    assert answer["settings"] == ""
    variables = {entry.partition("=")[0] for entry in inspect_image(image)["Config"]["Env"]}
    assert variables <= {
        "PATH",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "HOME",
        "LANG",
        "GPG_KEY",
        "PYTHON_VERSION",
        "PYTHON_SHA256",
        *OWN_VARIABLES,
    }


def test_certificates_of_the_build_machine_are_not_in_it(answer: dict[str, str]) -> None:
    assert answer["certificates"] == ""


def test_it_holds_the_whole_project_as_it_is_here(answer: dict[str, str]) -> None:
    listed = dict(reversed(line.split()) for line in answer["code"].splitlines())
    assert {path.partition("/")[0] for path in listed} == set(PACKAGES)
    for path, digest in listed.items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest, path
    sources = {path.relative_to(ROOT).as_posix() for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")}
    assert sources == {path for path in listed if path.endswith(".py")}
    for needed in ("services/mattergen/weights.yaml", "services/moldiff/small/MolDiff.pt", "distillery/report/page/scripts/charts.js"):
        assert needed in listed


def test_shared_layers_hold_the_same_versions(answer: dict[str, str]) -> None:
    found = set(answer["packages"].split())
    assert len(found) > 20
    assert [name for name, n in Counter(entry.partition("==")[0] for entry in found).items() if n > 1] == []


def test_its_root_is_read_only_and_it_has_no_capabilities(image: str) -> None:
    written = run_in(image, "for f in / /venv /opt/library /tmp; do touch $f/x 2>/dev/null && echo $f; done; true", *HARDENED)
    assert written.split() == ["/tmp"]
    status = run_in(image, "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status", *HARDENED)
    assert dict(line.split(":\t") for line in status.splitlines()) == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}


def test_apps_that_start_with_a_profile_only_are_made_on_a_read_only_root(all_images: dict[str, str], images: dict[str, str]) -> None:
    """The others do so in every test of a running factory."""
    for name in all_images.keys() - images.keys():
        script = f"python -W error::ResourceWarning -c 'from cli.serve import build_app; print(build_app(\"{name}\").title)'"
        assert run_in(all_images[name], script, *HARDENED).strip() == f"Distillery: {name}"


def test_volumes_belong_to_the_user(all_images: dict[str, str]) -> None:
    assert run_in(all_images["gateway"], "stat -c %u:%g /data").split() == ["10001:10001"]
    assert run_in(all_images["labeller"], "stat -c %u:%g /data /weights").split() == ["10001:10001"] * 2
    assert run_in(all_images["benchmarks"], "stat -c %u:%g /benchmarks").split() == ["10001:10001"]


def try_commands(image: str, commands: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Exit code and output of each, in a folder that holds a recipe and no datasets."""
    script = "mkdir /tmp/empty && cd /tmp/empty && cat >r.yaml\n"
    script += "".join(f"echo '== {command}'; distillery {command} >out 2>&1; echo $?; cat out\n" for command in commands)
    output = docker("run", "--rm", "--interactive", *HARDENED, image, "sh", "-c", script, stdin=RECIPE.encode()).stdout
    parts = [part.split("\n", 2) for part in output.split("== ")[1:]]
    return {command: (int(code), text.strip()) for command, code, text in parts}


@pytest.mark.parametrize("name", LOADS_MUCH, indirect=True)
def test_the_command_works_in_it_or_names_what_is_missing_in_one_line(image: str, name: str) -> None:
    found = try_commands(image, COMMANDS + LOADS_MUCH[name])
    assert not [text for _, text in found.values() if "Traceback" in text]
    assert found["status"] == (0, "there are no datasets yet; `distillery run recipes/quickstart.yaml` makes one")
    expected = dict.fromkeys(found, 0) | {"export x.h5 --to extxyz": 1, "weights pull labeller/orb-v2": 1, "run r.yaml": 1}
    expected |= {"services rdkit": 0 if name == "rdkit" else 1}
    assert {command: code for command, (code, _) in found.items()} == {command: expected[command] for command in found}
    assert "no file or dataset 'x.h5'" in found["export x.h5 --to extxyz"][1]
    assert "orb-v2-20241011.ckpt" in found["weights pull labeller/orb-v2"][1], "the container has no network"
    for command, package in (("services rdkit", "rdkit"), ("run r.yaml", "rdkit" if name == "gateway" else "torch")):
        if found.get(command, (0, ""))[0]:
            last = found[command][1].splitlines()[-1]
            assert package in last
            assert "not installed here" in last
