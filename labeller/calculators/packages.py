"""Well-known models and methods as ASE calculators, each by its own package's documented way; imported when one is made."""

from typing import Any

from ase.calculators.calculator import BaseCalculator
from ase.data import chemical_symbols

from labeller.calculators.families import XTB_ELEMENTS


def make_xtb(method: str, spin_polarization: float | None = None) -> BaseCalculator:
    """GFN2-xTB or GFN1-xTB by tblite: methods for molecules, whose crystals they are not meant for.

    Charge and multiplicity are those of `atoms.info`, "charge" and "spin".
    """
    from tblite.ase import TBLite

    class StatedTBLite(TBLite):
        """tblite's calculator, told charge and multiplicity of each structure in its own parameters."""

        def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
            if atoms is not None:
                self.parameters.update(charge=atoms.info.get("charge"), multiplicity=atoms.info.get("spin"))
            super().calculate(atoms, *arguments, **options)

    calculator = StatedTBLite(method=method, spin_polarization=spin_polarization, verbosity=0, cache_api=False)
    return _describe(calculator, elements=XTB_ELEMENTS, periodic=False, knows_charge=True, knows_spin=True)


def make_mace(model: str, device: str) -> BaseCalculator:
    """A MACE model from a file."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=model, device=device, default_dtype="float64")
    return _describe(calculator, elements=tuple(chemical_symbols[z] for z in calculator.z_table.zs))


def make_mace_foundation(family: str, model: str, device: str) -> BaseCalculator:
    """A MACE foundation model of a family, "mp" or "off", that its package downloads."""
    from mace.calculators import mace_mp, mace_off

    calculator = {"mp": mace_mp, "off": mace_off}[family](model=model, device=device, default_dtype="float64")
    return _describe(calculator, elements=tuple(chemical_symbols[z] for z in calculator.z_table.zs))


def make_mattersim(model: str, device: str) -> BaseCalculator:
    """A MatterSim model, that its package downloads."""
    from mattersim.forcefield import MatterSimCalculator

    calculator: BaseCalculator = MatterSimCalculator(load_path=model, device=device)
    return calculator


def make_uma(model: str, task: str, device: str) -> BaseCalculator:
    """A UMA model for one of its tasks (omol, omat, oc20, odac, omc), that fairchem downloads."""
    from fairchem.core import FAIRChemCalculator, pretrained_mlip

    unit = pretrained_mlip.get_predict_unit(model, device=device)
    knows = task == "omol"
    return _describe(FAIRChemCalculator(unit, task_name=task), knows_charge=knows, knows_spin=knows)


def make_nequip(model: str, device: str) -> BaseCalculator:
    """A compiled NequIP or Allegro model from a file."""
    from nequip.integrations.ase import NequIPCalculator

    calculator: BaseCalculator = NequIPCalculator.from_compiled_model(model, device=device)
    return calculator


def _describe(calculator: Any, **attributes: Any) -> BaseCalculator:
    """The calculator with what it can and can't do, as `labeller.calculators.worker` asks it."""
    for name, value in attributes.items():
        setattr(calculator, name, value)
    made: BaseCalculator = calculator
    return made
