"""What a run of the program has read, so that its graph is good for as long as that is the same.

The recorder notes every file at the moment it is first opened, every folder that is listed and
every path that is asked about, existing or not. What the run makes itself follows from these. A
run that asked something which cannot be asked again (another process, the network) is marked: its
graph is not kept.

The interpreter and what is installed are not noted file by file: ``installed`` stands for them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

_LISTED = ("os.listdir", "os.scandir")
_UNREPEATABLE = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
    }
)
_OF_THE_MACHINE = ("/dev", "/proc", "/sys")
_BYPRODUCT = "__pycache__"


@dataclass(frozen=True, order=True)
class Read:
    """One question and its answer: ``how`` is ``content``, ``names`` or ``kind``."""

    path: str
    how: str
    answer: str

    def still(self) -> bool:
        """Whether the same question has the same answer now."""
        return ASK[self.how](self.path) == self.answer


def content(path: str) -> str:
    """A digest of a file's bytes; empty when there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    except OSError:
        return ""


def names(path: str) -> str:
    """A digest of what a folder holds by name and kind; empty when there is no such folder."""
    return _digest(_entries(path))


def _entries(path: str) -> frozenset[tuple[str, bool]] | None:
    try:
        with os.scandir(path) as entries:
            return frozenset((e.name, e.is_dir()) for e in entries if e.name != _BYPRODUCT)
    except OSError:
        return None


def _digest(entries: frozenset[tuple[str, bool]] | None) -> str:
    if entries is None:
        return ""
    return hashlib.blake2b(repr(sorted(entries)).encode(), digest_size=16).hexdigest()


def kind(path: str) -> str:
    """``file``, ``folder``, or empty when there is neither."""
    try:
        mode = _stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file"


_stat = os.stat
ASK: dict[str, Callable[[str], str]] = {"content": content, "names": names, "kind": kind}


def unchanged(reads: Iterable[Read]) -> bool:
    """Whether every question still has its answer."""
    return all(read.still() for read in reads)


def installed() -> str:
    """A digest of the interpreter and of the distributions it finds, by name and version."""
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    seen = [sys.version, sys.prefix, *(f"{folder} {names(folder)}" for folder in folders)]
    return hashlib.blake2b("\n".join(seen).encode(), digest_size=16).hexdigest()


class Reads:
    """The questions of this process from ``begin`` on; once begun it goes on to the end."""

    def __init__(self, ignored: Iterable[str] = ()) -> None:
        """``ignored`` are folders of which no file is noted."""
        inside = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *ignored}
        self._ignored = tuple(f"{os.path.abspath(p)}{os.sep}" for p in (*inside, *_OF_THE_MACHINE))
        self._found: dict[tuple[str, str], str] = {}
        self._listings: dict[str, frozenset[tuple[str, bool]] | None] = {}
        self._made: set[str] = set()
        self._asking = threading.local()
        self.unrepeatable: set[str] = set()

    def begin(self) -> None:
        """Note what is imported already, then everything that is asked from now on."""
        for module in list(sys.modules.values()):
            if file := getattr(module, "__file__", None):
                self.note("content", file)
        for folder in list(sys.path_importer_cache):
            self.note("names", folder)
        os.stat = partial(self._asked, os.stat)  # type: ignore[assignment]
        os.lstat = partial(self._asked, os.lstat)  # type: ignore[assignment]
        sys.addaudithook(self._hook)

    def all(self) -> list[Read]:
        """Every question so far with its first answer; a listing with what the run has added."""
        listings = [Read(p, "names", _digest(self._grown(p))) for p in list(self._listings)]
        return sorted([*listings, *(Read(p, h, a) for (p, h), a in list(self._found.items()))])

    def _grown(self, path: str) -> frozenset[tuple[str, bool]] | None:
        first, now = self._listings[path], _entries(path)
        if first is None or now is None:
            return first
        added = {entry for entry in now - first if os.path.join(path, entry[0]) in self._made}
        return first | added

    def note_made(self, path: Path) -> None:
        """A file that the run has made and that must be there, as it is now, in another one."""
        self._made.discard(os.path.abspath(path))
        self.note("content", path)

    def note(self, how: str, path: str | bytes | os.PathLike[Any]) -> None:
        """Ask now and keep the answer, if the path is one of those that matter."""
        if getattr(self._asking, "now", False):
            return
        with self._alone():
            whole = os.path.abspath(os.fsdecode(path))
            if not self._matters(whole):
                return
            if how == "names":
                self._listings.setdefault(whole, _entries(whole))
            elif (whole, how) not in self._found:
                self._found[whole, how] = ASK[how](whole)

    def _matters(self, path: str) -> bool:
        outside = not f"{path}{os.sep}".startswith(self._ignored)
        return outside and path not in self._made and _BYPRODUCT not in path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Our own questions are not noted."""
        self._asking.now = True
        try:
            yield
        finally:
            self._asking.now = False

    def _asked(self, ask: Callable[..., Any], path: Any, *rest: Any, **named: Any) -> Any:
        if not isinstance(path, int) and named.get("dir_fd") is None:
            self.note("kind", path)
        return ask(path, *rest, **named)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            self._opened(*arguments)
        elif event == "os.rename":
            self._makes(arguments[1])
        elif event == "os.mkdir":
            self._makes(arguments[0])
        elif event in _LISTED:
            self._listed(arguments[0])
        elif event in _UNREPEATABLE and not getattr(self._asking, "now", False):
            self.unrepeatable.add(event)

    def _listed(self, folder: Any) -> None:
        if not isinstance(folder, int):
            self.note("names", folder or ".")

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if path is None or isinstance(path, int):
            return
        text = os.fsdecode(path)
        if _writes(mode, flags):
            self._makes(text)
        elif _BYPRODUCT in text and text.endswith(".pyc"):
            self.note("content", source_from_cache(text))
        else:
            self.note("content", text)

    def _makes(self, path: Any) -> None:
        """A file that the run makes follows from what it read; one that it had read stays noted."""
        whole = os.path.abspath(os.fsdecode(path))
        if (whole, "content") not in self._found:
            self._found.pop((whole, "kind"), None)
            self._made.add(whole)


def _writes(mode: str | None, flags: int) -> bool:
    if mode is not None:
        return any(letter in mode for letter in "wax+")
    return flags & os.O_ACCMODE != os.O_RDONLY
