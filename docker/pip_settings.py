"""This machine's pip settings as one pip.conf that works inside an image build; prints it."""

import re
import subprocess
import sys
from ast import literal_eval
from configparser import RawConfigParser

KEPT = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries", "no-index")
CA_BUNDLE = "/run/secrets/ca_bundle"


def read_settings() -> dict[str, str]:
    """pip's settings by name; the environment wins over files, `install` over `global`, as in pip itself."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for section, name, value in re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", listed, re.MULTILINE):
        found[section][{"default-timeout": "timeout"}.get(name, name)] = str(literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def keep_remote(value: str) -> str:
    """`value` without folders of this machine, which a build can't see; they are named on standard error."""
    places = value.split()
    for local in (place for place in places if place.startswith(("/", "file:"))):
        print(f"pip_settings: builds don't see {local}: name a folder of wheels in DISTILLERY_WHEELS if they need it", file=sys.stderr)
    return "\n".join(place for place in places if not place.startswith(("/", "file:")))


def main() -> None:
    """Print the pip.conf."""
    settings = read_settings()
    config = RawConfigParser()
    config["global"] = {name: kept for name in KEPT if (kept := keep_remote(settings.get(name, "")))}
    config["global"]["cert"] = CA_BUNDLE
    config.write(sys.stdout)


main()
