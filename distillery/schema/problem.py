"""What a server answers besides its work: whether it is well, and what is wrong."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from distillery.errors import Problem


class Answer(BaseModel):
    """Base of what is only ever answered: frozen, floats finite. Keys that are not known are left aside: a newer server may have more."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Health(Answer):
    """What `GET /v1/health/live` and `/ready` answer where all is well."""

    status: Literal["alive", "ready"]
    service: str


class RecipeFault(Answer):
    """One fault of a recipe."""

    line: int
    key: str = Field(description="the path of the key, joined by dots; empty for the whole")
    message: str


class ProblemDocument(BaseModel):
    """RFC 9457: what is wrong, and by its `kind` what to do next."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(description="urn:distillery:problem:<kind>")
    title: str
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was wanted, what came, and what to do")
    kind: str = Field(description="named for the caller's next move: invalid_request, not_found, conflict, busy, unavailable, …")
    instance: str | None = Field(None, description="the path that was asked for", exclude_if=lambda value: value is None)
    faults: list[RecipeFault] | None = Field(None, description="of a recipe", exclude_if=lambda value: value is None)

    @classmethod
    def of(cls, problem: Problem) -> "ProblemDocument":
        """A problem as it is told."""
        return cls.model_validate(problem.body())
