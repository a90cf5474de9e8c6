"""What an HTTP server takes and from whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trunkline.serving.http.keys import Keys


@dataclass(frozen=True)
class Settings:
    """Limits and keys of a server. Beyond a limit a request is refused with 413, or 422 where it is well formed but unusable.

    Attributes:
        keys: whoever holds one of them may ask for predictions; without any keys, everybody may.
        admin_keys: whoever holds one of them may also change which branches are served; without any, nobody may.
        hosts: names that a request's Host header may have; None: any. On loopback it keeps the pages of other sites out, whose
            names may resolve to 127.0.0.1 (DNS rebinding).
        branches: the folder in which `PUT /v1/tasks/{name}` looks for a branch by the name of its folder.
        docs: whether `/docs` is there, which loads its scripts from another site.
        body_bytes: of the body of a request.
        upload_bytes: of the body of an upload of a branch.
        body_seconds: until a body has to be there.
        upload_seconds: until an upload has to be there.
        held_bytes: of the bodies of all requests that are there at a time, uploads aside, which are held on disk.
        elements: elements of lists and keys of objects in a body, in all.
        texts: of a request.
        characters: of a text, and of its second text.
        tokens: of a request, as far as they can be told from its characters.
        timeout: seconds until a request is answered or refused; a request may ask for less.
        drain_seconds: that requests are given to end in when the server is stopped.
    """

    keys: Keys = field(default_factory=Keys)
    admin_keys: Keys = field(default_factory=Keys)
    hosts: frozenset[str] | None = None
    branches: Path | None = None
    docs: bool = False
    body_bytes: int = 4 << 20
    upload_bytes: int = 1 << 30
    body_seconds: float = 20.0
    upload_seconds: float = 600.0
    held_bytes: int = 256 << 20
    elements: int = 1 << 18
    texts: int = 1024
    characters: int = 200_000
    tokens: int = 65_536
    timeout: float = 30.0
    drain_seconds: float = 30.0

    @property
    def covered(self) -> bool:
        """Whether a key is asked for."""
        return self.keys.given or self.admin_keys.given
