"""Files that requests name: where a service may read them, and none outside of it."""

from pathlib import Path

from pydantic import DirectoryPath, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.errors import InvalidRequest, Unsupported


class InputSettings(BaseSettings):
    """Where a service may read what a request names, from the environment."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_SERVICE_", frozen=True)

    inputs: DirectoryPath | None = Field(None, description="folder from which requests may name files; none if absent")


def find_input(name: str, folder: Path | None, option: str, otherwise: str = "") -> Path:
    """The file that a request names, absolute or relative to `folder`; refused unless it lies below it, links resolved.

    option     the option that names it
    otherwise  what else can be done where there is no folder
    """
    path = find_below(name, folder, option, otherwise)
    if not path.is_file():
        raise InvalidRequest(f"{option} {name!r} is not a file in the service's input folder; put it there")
    return path


def find_below(name: str, folder: Path | None, option: str, otherwise: str = "") -> Path:
    """The place that a request names, which may be a folder or nothing yet; errors as of `find_input`."""
    root = require_folder(folder, option, otherwise)
    try:
        path = (root / name).resolve()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidRequest(f"{option} {name!r} is not a usable path") from error
    if not path.is_relative_to(root):
        raise InvalidRequest(f"{option} {name!r} lies outside the service's input folder; name a file below it")
    return path


def require_folder(folder: Path | None, option: str, otherwise: str = "") -> Path:
    """The folder, links resolved; Unsupported if the service has none."""
    if folder is None:
        raise Unsupported(
            f"{option} needs a folder that this service may read: set DISTILLERY_SERVICE_INPUTS to it and start the service again"
            + (f", {otherwise}" if otherwise else "")
        )
    return folder.resolve()
