"""CrystalFlow: what is ours around upstream's sampler: sizes, compositions, elements, bad cells, refusals. Needs no upstream code."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from distillery.errors import InvalidRequest, Unavailable, Unsupported
from distillery.generators.generator import Task, resolve_task
from distillery.generators.models.model import ReportProgress
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.proposals import Proposal
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.crystalflow.cells import Tables, check_fit, draw_contents, list_sizes, list_units
from services.crystalflow.conditions import Conditions, Scale
from services.crystalflow.model import CrystalFlow
from services.crystalflow.network import Network
from services.crystalflow.options import CrystalFlowOptions, read_composition
from services.crystalflow.settings import CrystalFlowSettings
from services.crystalflow.steering import N_TYPES, encode_elements, steer, steered
from services.crystalflow.upstream import Upstream, build_network, import_upstream

N_STEPS = 4
CUBE = 4.0 * torch.eye(3)
ROCK_SALT = ([11, 17] * 4, [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0], [0.5, 0, 0.5], [0, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5]])


class Decoder(torch.nn.Module):
    """Stands for upstream's: a flow of types at random."""

    def forward(self, atom_types: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.zeros(1), torch.zeros(1), torch.randn_like(atom_types)


class FakeFlow(torch.nn.Module):
    """Stands for upstream's model: its sampler hands back `cells` (numbers, fractional, cell), or does what `act` does."""

    type_encoding = None

    def __init__(self, cells: list[tuple[list[int], Any, torch.Tensor]], act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.decoder = Decoder()
        self.time_embedding = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.cells, self.act, self.calls = cells, act, list[dict[str, Any]]()

    def sample(self, batch: Any, N: int, **options: Any) -> tuple[dict[str, torch.Tensor], None]:  # noqa: N803
        self.calls.append({"batch": batch, "N": N, **options})
        for _ in range(N):
            self.time_embedding(torch.zeros(1))
            self.act()
        cells = [self.cells[k % len(self.cells)] for k in range(batch.num_graphs)]
        return {
            "num_atoms": torch.tensor([len(numbers) for numbers, _, _ in cells]),
            "atom_types": torch.tensor([z for numbers, _, _ in cells for z in numbers]),
            "frac_coords": torch.cat([torch.tensor(fractional, dtype=torch.float32) for _, fractional, _ in cells]),
            "lattices": torch.stack([cell for _, _, cell in cells]),
        }, None


def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *networks: Network) -> SampledGenerator:
    """The service with these networks in place of what a checkpoint holds."""
    file = tmp_path / "some.ckpt"
    file.write_bytes(b"PK")
    monkeypatch.setattr("services.crystalflow.upstream.import_upstream", lambda: Upstream("fake", {}))
    monkeypatch.setattr("services.crystalflow.network.read_networks", lambda *_: list(networks))
    made = SampledGenerator(CrystalFlow(CrystalFlowSettings(checkpoint=str(file), weights=tmp_path, device="cpu")))
    made.load()
    return made


def network(*cells: Any, is_de_novo: bool = True, conditions: Conditions | None = None) -> Network:
    return Network(FakeFlow([*cells]), is_de_novo, conditions or Conditions({}, is_dropped=False))


def make_task(generator: SampledGenerator, **request: Any) -> Task:
    return resolve_task(GenerateRequest(**{"n": 1, "seed": 5, **request}), generator)


def draw(generator: SampledGenerator, task: Task, n: int, report: ReportProgress = lambda _: None) -> Sequence[Proposal | str]:
    return CrystalFlow(CrystalFlowSettings()).draw(task, generator.require(), n, 1, report)


def plain_task(**changes: Any) -> Any:
    return SimpleNamespace(**{"min_atoms": 50, "max_atoms": 500, "elements": DEFAULT_ELEMENTS, **changes})


def test_a_composition_is_its_atoms() -> None:
    assert read_composition("SiO2").tolist() == [14, 8, 8]
    assert sorted(read_composition("Ca(OH)2").tolist()) == [1, 1, 8, 8, 20]


@pytest.mark.parametrize("formula", ["", "Si0.5", "sio2", "Xx", "Si200", "H99999999999999", "Si-1", "(", "1"])
def test_what_is_no_composition_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match=r"composition|formula"):
        CrystalFlowOptions(compositions=(formula,))


def test_cells_have_sizes_that_some_supercell_fits() -> None:
    assert list_sizes(plain_task(min_atoms=5, max_atoms=7), 20) == [1, 2, 3, 5, 6, 7]
    assert list_sizes(plain_task(), 20) == list(range(1, 21))
    assert list_sizes(plain_task(min_atoms=37, max_atoms=37), 20) == [1]
    assert list_units(plain_task(), "SiO2", 20) == [1, 2, 3, 4, 5, 6]


def test_sizes_with_many_divisors_are_frequent_and_the_seed_fixes_them() -> None:
    assert set(draw_sizes(1)) == set(range(1, 21))
    counts = np.bincount(draw_sizes(1), minlength=21)
    assert counts[12] > 2 * counts[13]
    assert draw_sizes(1) == draw_sizes(1) != draw_sizes(2)


def draw_sizes(seed: int, tables: Tables | None = None, **options: Any) -> list[int]:
    contents = draw_contents(plain_task(), CrystalFlowOptions(**options), tables or {}, 5000, np.random.default_rng(seed))
    return [content.n_atoms for content in contents]


def test_sizes_are_those_of_the_training_set() -> None:
    tables = {"mp_20": [0.0, 0.25, 0.0, 0.75, *[0.0] * 17], "alex": [0.0, 0.0, 1.0]}
    shares = np.bincount(draw_sizes(1, tables), minlength=21) / 5000
    assert shares == pytest.approx(tables["mp_20"], abs=0.02)
    assert set(draw_sizes(1, tables, sizes="alex")) == {2}
    assert set(draw_sizes(1, tables, sizes="divisors")) == set(range(1, 21))
    assert max(draw_sizes(1, tables, largest_cell=52)) > 40  # mp_20 ends at 20
    (content,) = draw_contents(plain_task(), CrystalFlowOptions(), tables, 1, np.random.default_rng(1))
    assert content.origin == {"sizes": "mp_20"}


@pytest.mark.parametrize(
    ("sizes", "words"), [("mp20", "none of 'mp20'; did you mean 'mp_20'"), ("perov_5", "no cell of perov_5 .* 52-52 atoms")]
)
def test_sizes_that_are_unknown_or_fit_nothing_are_refused(sizes: str, words: str) -> None:
    tables = {"mp_20": [0.0, 1.0], "perov_5": [0, 0, 0, 0, 0, 1]}
    with pytest.raises(Unsupported, match=words):
        check_fit(plain_task(min_atoms=52, max_atoms=52), CrystalFlowOptions(sizes=sizes), tables)


def test_compositions_come_in_whole_formula_units() -> None:
    options = CrystalFlowOptions(compositions=("SiO2", "PCl5"))
    contents = draw_contents(plain_task(), options, {}, 200, np.random.default_rng(3))
    assert {c.origin["composition"] for c in contents} == {"SiO2", "PCl5"}
    assert {c.n_atoms for c in contents if c.origin["composition"] == "SiO2"} == {3, 6, 9, 12, 15, 18}
    for content in contents:
        assert content.numbers is not None
        unit = read_composition(content.origin["composition"])
        assert sorted(content.numbers) == sorted(np.tile(unit, content.n_atoms // len(unit)))


def test_an_exact_flow_to_an_allowed_element_is_not_turned() -> None:
    codes = torch.eye(5)[[1, 3]]
    now = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    ends = codes[[0, 1, 0, 1, 1, 0]]
    torch.testing.assert_close(steer(now, (ends - now) / 0.5, 0.5, codes, settle=False), (ends - now) / 0.5, atol=0.02, rtol=0)


def test_shares_of_allowed_elements_keep_their_ratio() -> None:
    end = torch.tensor([[0.5, 0.1, 0.4, 0.0]])
    turned = steer(torch.zeros(1, 4), end, 1.0, torch.eye(4)[:2], settle=False)
    torch.testing.assert_close(turned, torch.tensor([[5 / 6, 1 / 6, 0, 0]]))


def test_types_in_two_parts_settle_on_an_allowed_pair() -> None:
    """Rows and columns of a table: the likeliest row and the likeliest column may be of no allowed element together."""
    codes = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]])
    end = torch.tensor([[0.9, 0.1, 0.05, 0.95]])
    assert steer(torch.zeros(1, 4), end, 1.0, codes, settle=True).tolist() in codes[:, None].tolist()


@pytest.mark.parametrize("elements", [("H",), ("C", "O"), DEFAULT_ELEMENTS])
def test_steering_ends_at_the_allowed_elements_only(elements: tuple[str, ...]) -> None:
    torch.manual_seed(2)
    flow: Any = FakeFlow([])
    types = torch.randn(200, N_TYPES)
    with steered(flow, elements, N_STEPS, 1):
        for _ in range(N_STEPS):
            types = types + flow.decoder(atom_types=types)[2] / N_STEPS
    torch.testing.assert_close(types.max(1).values, torch.ones(200))
    codes = encode_elements(flow, elements)
    assert set(types.argmax(1).tolist()) <= set(codes.argmax(1).tolist())
    assert not flow.decoder._forward_hooks


def test_one_bad_cell_never_loses_the_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numbers, places = ROCK_SALT
    good = (numbers, places, 5.64 * torch.eye(3))
    bad = {
        "not_finite": ([14], [[0, 0, 0]], CUBE * torch.nan),
        "unknown_element": ([0], [[0, 0, 0]], CUBE),
        "bad_cell": ([14], [[0, 0, 0]], torch.diag(torch.tensor([4.0, 4.0, 0.0]))),
        "too_large": ([14], [[0, 0, 0]], CUBE * 1e6),
        "too_dense": ([14, 14], [[0, 0, 0], [0.5, 0.5, 0.5]], 1.5 * torch.eye(3)),
        "atoms_too_close": ([14, 14], [[0, 0, 0], [0.01, 0, 0]], CUBE),
        "too_sparse": ([14, 14], [[0, 0, 0], [0.5, 0.5, 0.5]], torch.diag(torch.tensor([25.0, 30.0, 28.0]))),
        "cell_lengths": ([14, 14], [[0, 0, 0], [0, 0, 0.5]], torch.diag(torch.tensor([2.5, 2.5, 61.0]))),
        "cell_angles": ([14], [[0, 0, 0]], torch.tensor([[8.0, 0, 0], [7.9, 2.5, 0], [0, 0, 4]])),
    }
    generator = load(monkeypatch, tmp_path, network(*bad.values(), ([95], [[0, 0, 0]], CUBE), ([26], [[0, 0, 0]], CUBE), good))
    outcomes = draw(generator, make_task(generator, elements=["Na", "Cl", "Si"]), 12)
    assert list(outcomes[:-1]) == [*bad, "unknown_element", "unknown_element"]
    crystal = outcomes[-1]
    assert isinstance(crystal, Proposal)
    assert 50 <= len(crystal.structures[0]) <= 500
    assert crystal.structures[0].origin["cell_atoms"] >= 1


def test_equal_cells_have_equal_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numbers, places = ROCK_SALT
    generator = load(monkeypatch, tmp_path, network((numbers, places, 5.64 * torch.eye(3))))
    first, second = draw(generator, make_task(generator, elements=["Na", "Cl"]), 2)
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert first.key == second.key


def test_every_step_is_reported_and_may_stop_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flow = network(([14], [[0, 0, 0]], CUBE))
    generator, shares = load(monkeypatch, tmp_path, flow), list[float]()
    task = make_task(generator, elements=["Si"], options={"steps": N_STEPS})
    draw(generator, task, 1, shares.append)
    assert shares == [0, 0.25, 0.5, 0.75]

    def leave(share: float) -> None:
        if share >= 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(generator, task, 1, leave)
    assert not flow.model.get_submodule("time_embedding")._forward_pre_hooks


def test_compositions_are_annealed_as_upstream_does_and_de_novo_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    de_novo, csp = network(([14], [[0, 0, 0]], CUBE)), network(([14], [[0, 0, 0]], CUBE), is_de_novo=False)
    generator = load(monkeypatch, tmp_path, de_novo, csp)
    for options in ({}, {"compositions": ["Si"]}, {"compositions": ["Si"], "anneal": 0, "steps": 7}):
        draw(generator, make_task(generator, options=options), 3)
    calls: Any = [*de_novo.model.calls, *csp.model.calls]  # type: ignore[misc]
    assert [(c["N"], c["anneal_coords"], c["anneal_slope"], c["guide_factor"]) for c in calls] == [
        (100, False, 0.0, None),
        (100, True, 5.0, None),
        (7, False, 0.0, None),
    ]
    assert not hasattr(calls[0]["batch"], "atom_types")
    assert set(calls[1]["batch"].atom_types.tolist()) == {14}


def test_conditions_are_scaled_for_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conditions = Conditions({"formation_energy_per_atom": Scale(-1.5, 0.5)}, is_dropped=True)
    flow = network(([14], [[0, 0, 0]], CUBE), conditions=conditions)
    generator = load(monkeypatch, tmp_path, flow)
    options = {"conditions": {"formation_energy_per_atom": -1.0}, "guidance": 2}
    draw(generator, make_task(generator, options=options), 2)
    call: Any = flow.model.calls[0]  # type: ignore[index]
    assert call["batch"].formation_energy_per_atom.tolist() == [[1.0], [1.0]]
    assert call["guide_factor"] == 2


@pytest.mark.parametrize(
    ("request_", "kind", "named"),
    [
        ({"options": {"compositions": ["SiO2"]}}, Unsupported, "DISTILLERY_CRYSTALFLOW_CSP_CHECKPOINT"),
        ({"options": {"conditions": {"formation_energy_per_atom": 0}}}, Unsupported, "conditioned on nothing"),
        ({"options": {"guidance": 2}}, Unsupported, "leave it at 1"),
        ({"options": {"guidance": 0}}, InvalidRequest, "guidance"),
        ({"options": {"steps": 0}}, InvalidRequest, "steps"),
        ({"options": {"compositions": ["Quartz"]}}, InvalidRequest, "Quartz"),
        ({"elements": ["Am"]}, Unsupported, "Am"),
    ],
)
def test_what_a_checkpoint_de_novo_cannot_do_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        make_task(load(monkeypatch, tmp_path, network()), **request_)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({}, "options.compositions"),
        ({"options": {"compositions": ["SiO2", "NaCl"]}}, "NaCl holds Na"),
        ({"options": {"compositions": ["C30H62"]}}, "largest_cell"),
        ({"options": {"compositions": ["SiO2"]}, "min_atoms": 50, "max_atoms": 50}, "supercell of 50-50"),
    ],
)
def test_what_a_checkpoint_for_compositions_cannot_do_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: dict[str, Any], named: str
) -> None:
    with pytest.raises(Unsupported, match=named):
        make_task(load(monkeypatch, tmp_path, network(is_de_novo=False)), **request_)


def test_conditions_must_be_given_and_guidance_needs_training_without_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generator = load(monkeypatch, tmp_path, network(conditions=Conditions({"pressure": Scale(0, 1)}, is_dropped=False)))
    make_task(generator, options={"conditions": {"pressure": 1.0}})
    with pytest.raises(Unsupported, match="conditioned on pressure, got none"):
        make_task(generator)
    with pytest.raises(Unsupported, match="leave it at 1"):
        make_task(generator, options={"conditions": {"pressure": 1.0}, "guidance": 3})


def test_two_checkpoints_of_one_kind_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="two checkpoints of one kind"):
        load(monkeypatch, tmp_path, network(), network())


def test_without_a_checkpoint_the_service_says_where_they_are(tmp_path: Path) -> None:
    generator = SampledGenerator(CrystalFlow(CrystalFlowSettings(checkpoint="", weights=tmp_path)))
    with pytest.raises(Unavailable, match=r"DISTILLERY_CRYSTALFLOW_CHECKPOINT.*github.com/ixsluo/CrystalFlow/releases.*small"):
        generator.load()
    assert generator.metadata.weights_sha256 is None


def test_without_upstreams_code_the_service_says_where_it_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UPSTREAM_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match=r"ixsluo/CrystalFlow at 9c25ff0"):
        import_upstream()


@pytest.mark.parametrize("place", ["decoder", "beta_scheduler"])
def test_a_checkpoint_may_not_name_other_classes(place: str) -> None:
    model = {"decoder": {"_target_": "diffcsp.pl_modules.cspnet.CSPNet"}, "conditions": {"types": [{"n_out": 1}]}}
    with pytest.raises(Unavailable, match=r"posix\.system"):
        build_network({**model, place: {"_target_": "posix.system", "command": "true"}})


def test_a_checkpoint_may_not_hold_what_would_be_evaluated() -> None:
    with pytest.raises(Unavailable, match=r"\$\{eval:1\}"):
        build_network({"time_dim": 8, "decoder": {"hidden_dim": "${eval:1}"}})


def test_metadata_says_what_the_result_depends_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = load(monkeypatch, tmp_path, network()).metadata
    assert card.generative
    assert card.weights_sha256 is not None
    assert card.versions == {
        "torch": version("torch"),
        "threads": "1",
        "batch": "64",
        "upstream": "fake",
        "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "checkpoint": "some.ckpt",
    }
