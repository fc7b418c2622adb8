"""Saving when things go wrong: the process killed or refused at any system call, no room, no permission, links."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import caudal as cd

if TYPE_CHECKING:
    from conftest import Compiler

HERE = Path(__file__).resolve().parent
STRACE = shutil.which("strace")
TEMPORARY = re.compile(r"\.p\.caudal\.[0-9a-f]{16}")
# What has nothing to do with files: memory, and the process's end.
NOT_FILES = {"brk", "exit_group", "madvise", "mmap", "mprotect", "mremap", "munmap"}

needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed (Debian: apt-get install strace)")


@dataclass(frozen=True)
class Call:
    """The system call that is the ``when``-th of its name in the process's life."""

    name: str
    when: int

    def __str__(self) -> str:
        return f"{self.name} {self.when}"


class Saver:
    """Runs file.c on ``p.caudal`` in a folder of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder, self.path = program, folder, folder / "p.caudal"

    def run(self, *arguments: str, inject: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs it, under strace with a fault if one is given."""
        tracer = [STRACE or "", "-o", "/dev/null", "-e", f"inject={inject}"] if inject else []
        command = [*tracer, str(self.program), *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def calls(self, *arguments: str) -> list[Call]:
        """The system calls from the marker on, in order."""
        log = self.folder / "trace.log"
        command = [STRACE or "", "-o", log, str(self.program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=60)
        counts: dict[str, int] = {}
        calls: list[Call] = []
        begun = False
        for line in log.read_text().splitlines():
            name = line.partition("(")[0]
            if not name.isidentifier():
                continue
            counts[name] = counts.get(name, 0) + 1
            if begun:
                calls.append(Call(name, counts[name]))
            begun = begun or "begins" in line
        log.unlink()
        return calls

    def written(self, value: str) -> bytes:
        """The bytes of the file with that value, which is then in its place."""
        done = self.run("write", "p.caudal", value)
        assert (done.returncode, done.stdout) == (0, ""), done
        return self.path.read_bytes()

    def leftovers(self) -> list[str]:
        """What is in the folder beside the file."""
        return sorted(name for name in os.listdir(self.folder) if name != "p.caudal")


@pytest.fixture
def saver(compiler: Compiler, tmp_path: Path) -> Saver:
    return Saver(compiler.build(HERE / "file.c"), tmp_path)


LEFTOVER = ".p.caudal.0123456789abcdef"


@needs_strace
@pytest.mark.parametrize("leftover", [False, True], ids=["clean", "beside a leftover"])
def test_kill_at_any_system_call_leaves_the_old_file_or_the_new_one(saver: Saver, leftover: bool) -> None:
    new, old = saver.written("2"), saver.written("1")

    def prepare() -> None:
        """The same files each time, so that the calls are the same."""
        for name in saver.leftovers():
            (saver.folder / name).unlink()
        saver.path.write_bytes(old)
        if leftover:
            (saver.folder / LEFTOVER).write_bytes(b"of one that died")

    prepare()
    calls = saver.calls("write", "p.caudal", "2")
    names = [call.name for call in calls]
    renamed = names.index("rename")
    assert "write" in names and "fsync" in names[:renamed] and "fsync" in names[renamed:]
    assert ("unlink" in names) == leftover
    found = []
    for call in calls:
        prepare()
        done = saver.run("write", "p.caudal", "2", inject=f"{call.name}:signal=KILL:when={call.when}")
        assert done.returncode == -9, (call, done)
        content = saver.path.read_bytes()
        assert content in (old, new), f"killed at {call}"
        assert len(saver.leftovers()) <= 1 and all(map(TEMPORARY.fullmatch, saver.leftovers())), call
        found.append(content == new)
    # The call in which it is killed is carried out or not.
    assert not any(found[:renamed]) and all(found[renamed + 1 :])
    assert cd.Program.open(old).state["w"].value.numpy()[0] == 1
    assert cd.Program.open(new).state["w"].value.numpy()[0] == 2
    # What one that was killed left is gone after the next save.
    prepare()
    write = next(call for call in calls if call.name == "fsync")
    saver.run("write", "p.caudal", "2", inject=f"fsync:signal=KILL:when={write.when}")
    assert len(saver.leftovers()) == 1 and saver.path.read_bytes() == old
    assert saver.written("2") == new and saver.leftovers() == []


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EACCES", "EINTR"])
def test_an_error_of_any_system_call_is_named_and_the_old_file_is_there(saver: Saver, error: str) -> None:
    new, old = saver.written("2"), saver.written("1")
    calls = [call for call in saver.calls("write", "p.caudal", "2") if call.name not in NOT_FILES]
    saver.path.write_bytes(old)
    renamed = next(index for index, call in enumerate(calls) if call.name == "rename")
    system = os.strerror(getattr(errno, error))
    refused = []
    for index, call in enumerate(calls):
        # The standard library takes a folder that cannot be closed for a mistake, and panics.
        if call.name == "close" and calls[index - 1].name == "getdents64":
            continue
        done = saver.run("write", "p.caudal", "2", inject=f"{call.name}:error={error}:when={call.when}")
        content = saver.path.read_bytes()
        assert saver.leftovers() == [], call
        if done.returncode == 0:
            assert content == new, call
        else:
            assert done.returncode == 3 and system in done.stdout, (call, done)
            before, after = "cannot save p.caudal: ", "saved p.caudal, but a crash of the system may undo it: "
            assert done.stdout.startswith(after if index > renamed else before), (call, done)
            assert content == (new if index > renamed else old), call
            refused.append(call.name)
        saver.path.write_bytes(old)
    expected = {"rename"} if error == "EINTR" else {"write", "fsync", "rename", "openat"}
    assert expected <= set(refused)


@needs_strace
def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(saver: Saver) -> None:
    saver.written("1")
    reads = [call for call in saver.calls("read", "p.caudal") if call.name == "read"]
    assert len(reads) >= 3
    for call in reads:
        done = saver.run("read", "p.caudal", inject=f"read:retval=0:when={call.when}")
        message = "p.caudal became shorter while it was read\n"
        assert (done.returncode, done.stdout) == (3, message), call
        done = saver.run("read", "p.caudal", inject=f"read:error=EIO:when={call.when}")
        message = "cannot read p.caudal: Input/output error (os error 5)\n"
        assert (done.returncode, done.stdout) == (3, message), call
    assert saver.run("read", "p.caudal").stdout == "1\n"


def program(value: float) -> cd.Program:
    """A program with one state."""
    w = cd.Variable([float(value)] * 4096, name="w")

    @cd.function(signature={"x": "float32[4096]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        return x * w

    return cd.Program.of({"predict": predict})


def value(path: Path) -> float:
    return float(cd.Program.open(path).state["w"].value.numpy()[0])


def test_no_room_is_an_error_and_the_old_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "p.caudal"
    program(1).save(path)
    # In a process of its own: the limit holds for all that it writes. Python ignores the signal that comes with it.
    code = (
        "import resource, sys, caudal as cd\n"
        "p = cd.Program.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "try: p.save(sys.argv[1])\n"
        "except cd.FileError as error: print(error)\n"
    )
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"cannot save {path}: File too large (os error 27)\n"
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["p.caudal"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's are its owner's."""
    folder = Path(tempfile.mkdtemp(prefix="caudal-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_without_permission_is_an_error(compiler: Compiler, open_folder: Path) -> None:
    # As another user: root may write everywhere.
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    shutil.copy(compiler.build(HERE / "file.c"), open_folder / "file")
    for library in compiler.lib.glob("libcaudal*"):
        shutil.copy(library, open_folder)
    folder = open_folder / "closed"
    folder.mkdir()
    program(1).save(folder / "p.caudal")
    before = (folder / "p.caudal").read_bytes()
    folder.chmod(0o555)
    command = [open_folder / "file", "write", "closed/p.caudal", "2"]
    environment = {"LD_LIBRARY_PATH": str(open_folder)}
    done = subprocess.run(command, cwd=open_folder, env=environment, capture_output=True, text=True, **other)
    message = "cannot save closed/p.caudal: Permission denied (os error 13)\n"
    assert (done.returncode, done.stdout) == (3, message), done
    folder.chmod(0o755)
    assert (folder / "p.caudal").read_bytes() == before and os.listdir(folder) == ["p.caudal"]


def test_places_that_are_no_file_are_errors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ring").symlink_to("ring")
    table = {
        "folder": "it is not a regular file",
        "pipe": "it is not a regular file",
        "ring": "Too many levels of symbolic links (os error 40)",
        "none/p.caudal": "No such file or directory (os error 2)",
        "folder/..": "it is not a regular file",
    }
    for name, message in table.items():
        path = tmp_path / name
        with pytest.raises(cd.FileError) as caught:
            program(1).save(path)
        assert str(caught.value) == f"cannot save {path}: {message}"
    with pytest.raises(cd.FileError, match=r"^cannot save : "):
        program(1).save("")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe", "ring"]


def test_links_are_followed_and_stay(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link, far = tmp_path / "data" / "p.caudal", tmp_path / "p.caudal", tmp_path / "far"
    link.symlink_to(Path("data") / "p.caudal")
    far.symlink_to("p.caudal")
    # The first time they lead to what is not there yet.
    for number in (1, 2):
        program(number).save(far)
        assert link.is_symlink() and far.is_symlink() and not target.is_symlink()
        assert value(target) == number
    assert os.listdir(tmp_path / "data") == ["p.caudal"]


def test_permissions_are_kept_and_never_wider_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "p.caudal"
    previous = os.umask(0o022)
    try:
        program(1).save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        for mode in (0o600, 0o640, 0o664, 0o400):
            path.chmod(mode)
            program(2).save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(previous)


@needs_strace
def test_the_temporary_file_of_a_private_file_is_private(saver: Saver) -> None:
    saver.written("1")
    saver.path.chmod(0o600)
    writes = [call for call in saver.calls("write", "p.caudal", "2") if call.name == "write"]
    saver.run("write", "p.caudal", "2", inject=f"write:signal=KILL:when={writes[-1].when}")
    (left,) = saver.leftovers()
    assert stat.S_IMODE((saver.folder / left).stat().st_mode) == 0o600


def test_a_save_beside_others_takes_none_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "p.caudal"
    program(0).save(path)
    code = "import sys, caudal as cd\np = cd.Program.open(sys.argv[1])\nfor _ in range(40): p.save(sys.argv[1])\n"
    savers = [subprocess.Popen([sys.executable, "-c", code, path]) for _ in range(3)]
    assert [saver.wait(timeout=120) for saver in savers] == [0, 0, 0]
    assert value(path) == 0 and os.listdir(tmp_path) == ["p.caudal"]


def test_what_looks_like_a_leftover_and_is_none_stays(tmp_path: Path) -> None:
    names = [".p.caudal.0123456789abcdeg", ".p.caudal.0123", ".q.caudal.0123456789abcdef", "p.caudal.0123456789abcdef"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".p.caudal.0123456789abcdef").mkdir()
    program(1).save(tmp_path / "p.caudal")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ".p.caudal.0123456789abcdef", "p.caudal"])
