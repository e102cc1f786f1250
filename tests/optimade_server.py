"""A real OPTIMADE server on loopback, from the `optimade` package: its own 17 test structures, and crystals of known compounds."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from distillery.generators.compounds import find_compounds
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from tests.serving import free_port, wait_for_answer

ALIASES = {"id": "task_id", "chemical_formula_reduced": "pretty_formula", "chemical_formula_anonymous": "formula_anonymous"}


@contextmanager
def serve_optimade(folder: Path, entries: Sequence[dict[str, Any]] | None = None) -> Iterator[str]:
    """The base URL of a server with these entries, beside those of the package; crystals of known compounds if absent.

    It is a process of its own: the package warns of its own making, which here would be errors.
    """
    file, port = folder / "entries.json", free_port()
    file.write_text(json.dumps(list_compounds() if entries is None else entries), "utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "tests.optimade_server", str(file), str(port)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_answer(f"http://127.0.0.1:{port}/v1/info")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def run_server(file: Path, port: int) -> None:
    """Serve the entries of a file until the process is ended."""
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app
    from optimade.server.data import structures

    config = ServerConfig(insert_test_data=False, database_backend="mongomock", aliases={"structures": ALIASES}, log_dir=file.parent)
    app = create_app(config)
    app.state.entry_collections["structures"].insert([*structures, *json.loads(file.read_text("utf-8"))])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def list_compounds() -> list[dict[str, Any]]:
    """Entries of all known compounds of the default elements."""
    return [write_entry(f"compound-{k:03d}", compound.structure) for k, compound in enumerate(find_compounds(DEFAULT_ELEMENTS))]


def write_entry(id: str, structure: Structure, **change: Any) -> dict[str, Any]:
    """An ordered crystal as the server's database has it, with some fields changed."""
    symbols, counts = np.unique(structure.symbols, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return {
        "task_id": id,
        "elements": symbols.tolist(),
        "nelements": len(symbols),
        "elements_ratios": (counts / counts.sum()).tolist(),
        "pretty_formula": "".join(f"{s}{n if n > 1 else ''}" for s, n in zip(symbols.tolist(), counts.tolist(), strict=True)),
        "formula_anonymous": "".join(
            f"{a}{n if n > 1 else ''}" for a, n in zip("ABCDE", sorted(counts.tolist(), reverse=True), strict=False)
        ),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.cell.tolist(),
        "cartesian_site_positions": structure.positions.tolist(),
        "nsites": len(structure),
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in symbols.tolist()],
        "species_at_sites": structure.symbols,
        "structure_features": [],
        "last_modified": "2026-11-29T00:00:00Z",
        **change,
    }


if __name__ == "__main__":
    run_server(Path(sys.argv[1]), int(sys.argv[2]))
