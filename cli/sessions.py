"""The datasets in a folder, as a gateway in this process has them."""

from pathlib import Path

from gateway.clients import Clients
from gateway.manager import Manager
from gateway.settings import GatewaySettings


def open_manager(data: Path) -> Manager:
    """The datasets in a folder, for what the parts alone can tell: it asks neither services nor labeller, and takes up nothing."""
    settings = settings_here(data)
    return Manager(settings, Clients(settings))


def settings_here(data: Path) -> GatewaySettings:
    """Settings of a gateway in this process, whatever those of a container say: it takes up nothing by itself."""
    return GatewaySettings(data=data, resume=False, api_key=None, published="127.0.0.1")
