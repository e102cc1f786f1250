"""The labeller's settings, from the environment (DISTILLERY_LABELLER_…)."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.runtime.device import Device
from distillery.schema.teacher_name import TeacherName


class LabellerSettings(BaseSettings):
    """Every setting of a labeller process."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_LABELLER_", env_ignore_empty=True, frozen=True)

    teacher: TeacherName = Field("7net-0", description="name of the teacher")
    device: Device = Field("auto", description="auto is cuda where there is one")
    data: Path = Field(Path("data"), description="folder of all datasets")
    weights: Path = Field(Path("weights"), description="folder that downloaded weights are kept in")
    download: bool = Field(True, description="fetch the weights of an orb teacher where they are missing")
    weights_path: Path | None = Field(None, description="of an orb teacher: a weights file instead of the one in the folder or a download")
    compile: bool | None = Field(None, description="torch.compile the teacher (orb-v3-conservative only); on cuda only if absent")
    workers: int | None = Field(
        None,
        ge=1,
        description="threads that predict; if absent 1 on cuda, on a cpu one a core and 4 GiB. 1 for a compiled teacher: "
        "what can't be compiled switches torch's compiler off and on again for the whole process",
    )
    atom_budget: int | None = Field(
        None, ge=1, description="atoms a batch; if absent the teacher's own, which grows on cuda while memory lasts"
    )
    structure_seconds: float = Field(
        600.0, gt=0, description="longest time for one structure, s, of a teacher that labels one at a time in processes of its own"
    )
    queue: int = Field(50_000, ge=1, description="structures that may wait; more get 429")
    body_limit_mib: int = Field(256, ge=1, description="largest body of a request, MiB")
    self_test: bool = Field(
        True, description="try the teacher's physics when it is loaded; without it the gate teacher_physics has less to go by"
    )
    end_when_lost: bool = Field(False, description="end the process once its device is lost, for a restart policy to start it again")
