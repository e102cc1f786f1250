"""Who reaches the gateway without an API key: this machine, and where a port is published on loopback the container's own network."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

_ROUTES = Path("/proc/net/route")


def find_own_network(routes: Path = _ROUTES) -> tuple[IPv4Network, ...]:
    """The private networks of the interface that has the default route; none where that can't be known.

    In a container that is the bridge by which a port published on the host's loopback is reached. In a Swarm it is not the network
    that published ports come in by, which every node of the cluster listens on.
    """
    try:
        rows = [line.split() for line in routes.read_text().splitlines()[1:]]
    except OSError:  # not Linux
        return ()
    outward = {row[0] for row in rows if _read(row[1]) == _read(row[7]) == IPv4Address(0)}
    found = (IPv4Network(f"{_read(row[1])}/{_read(row[7])}") for row in rows if row[0] in outward and _read(row[7]) != IPv4Address(0))
    return tuple(network for network in found if network.is_private)


def _read(word: str) -> IPv4Address:
    """An address as the kernel writes it: hexadecimal, the last byte first."""
    return IPv4Address(bytes.fromhex(word)[::-1])


def is_near(peer: str, networks: Sequence[IPv4Network]) -> bool:
    """Whether an address is this machine's own loopback or in one of these networks."""
    try:
        address: IPv4Address | IPv6Address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or any(address in network for network in networks)
