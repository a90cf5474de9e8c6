"""The address that a server listens on, found before anything is loaded that takes seconds."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import replace

from trunkline.errors import BadInput
from trunkline.serving.http.settings import Settings

MODULES = ("fastapi", "uvicorn", "httptools", "uvloop", "prometheus_client", "python_multipart")


def check_installed() -> None:
    """BadInput where the extra `serve` is not installed."""
    from importlib.util import find_spec

    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        raise BadInput(f"serving needs the package {missing[0]}, which is not installed; pip install 'trunkline[serve]'")


def bind(host: str, port: int) -> socket.socket:
    """A socket for an address, which listens once requests are taken; BadInput where the address is not there or is in use."""
    where = f"{host} port {port}"
    if not 0 <= port <= 65535:
        raise BadInput(f"{where}: no such port, expected one from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f"{where}: no address to listen on ({getattr(error, 'strerror', None) or error})") from None
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise BadInput(f"{where}: in use by another program; --port names another one, 0 takes any that is free") from None
        raise BadInput(f"{where}: cannot be listened on ({getattr(error, 'strerror', None) or error})") from None
    made.setblocking(False)
    return made


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def with_hosts(settings: Settings, listening: socket.socket, host: str) -> Settings:
    """Settings that let in only requests for a name of this machine, where it listens on loopback."""
    if not is_loopback(listening):
        return settings
    return replace(settings, hosts=frozenset({host.lower(), "localhost", "127.0.0.1", "[::1]", listening.getsockname()[0]}))
