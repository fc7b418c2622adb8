#!/usr/bin/env python3
"""Build the WASM module of the C API, so that the same sources and compiler give the same bytes in any folder.

Writes go/internal/wasm/caudal.wasm and, beside it, caudal.wasm.json: the compiler, the flags, a digest of the wasm32
standard library, and the module's digest and size. With --check it writes neither, but builds and compares: bytes where
the standard library, the compiler and the flags are those of the committed module, else imports and exports. Where the
target wasm32-unknown-unknown cannot be had, it says so, and the committed module is what there is.

Needs Python 3.10, cargo and rustc.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "go" / "internal" / "wasm" / "caudal.wasm"
NOTES = MODULE.with_name("caudal.wasm.json")
TARGET = "wasm32-unknown-unknown"
INSTALL = ROOT.parent / "shared" / "toolchain" / "install-wasm-std.sh"
# Less inlining and unrolling than opt-level 2 would do: the kernels say themselves what is inlined, their blocks have
# known sizes, and the rest should be small. It saves 50 KB of what a page loads, and no step is slower.
FLAGS = [
    "-Ctarget-feature=+simd128",
    "-Cllvm-args=-inline-threshold=15",
    "-Cllvm-args=-unroll-runtime=false",
    "-Cllvm-args=-unroll-allow-partial=false",
]


def said(*command: str) -> str:
    """What a command prints, run where the toolchain file is."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def standard_library() -> Path | None:
    """The folder of the target's standard library, installed if need be; None where it cannot be had.

    It is added only where it is not there in any form: two copies of it exclude each other.
    """
    library = Path(said("rustc", "--print", "sysroot"), "lib", "rustlib", TARGET, "lib")
    for install in (["rustup", "target", "add", TARGET], ["bash", str(INSTALL)]):
        if library.is_dir():
            break
        try:
            subprocess.run(install, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            continue
    return library if library.is_dir() else None


def digest_of(library: Path) -> str:
    """The digest of a standard library's rlibs, with their names."""
    digest = hashlib.sha256()
    for rlib in sorted(library.glob("*.rlib")):
        digest.update(f"{rlib.name} {hashlib.sha256(rlib.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def remapped() -> list[str]:
    """Flags that keep this machine's folders out of the module.

    The sources of the standard library, where they are installed, get the name that they have where they are not.
    """
    sources = Path(said("rustc", "--print", "sysroot"), "lib", "rustlib", "src", "rust")
    commit = next(line.split()[1] for line in said("rustc", "-vV").splitlines() if line.startswith("commit-hash"))
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").absolute()
    folders = {ROOT: "/caudal", cargo_home: "/cargo", sources: f"/rustc/{commit}"}
    return [f"--remap-path-prefix={folder}={name}" for folder, name in folders.items()]


def build() -> bytes:
    """The module, built in cargo's target folder. What the environment says of flags and profiles is left out."""
    mine = ("CARGO_PROFILE_", "CARGO_BUILD_", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(FLAGS + remapped())
    options = ["--locked", "--profile", "wasm", "-p", "caudal-c", "--no-default-features", "--target", TARGET]
    subprocess.run(["cargo", "build", "--quiet", *options], cwd=ROOT, env=environment, check=True)
    return (ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / TARGET / "wasm" / "caudal.wasm").read_bytes()


def notes_of(module: bytes, library: Path) -> dict[str, object]:
    """What caudal.wasm.json says."""
    return {
        "rustc": said("rustc", "--version"),
        "flags": FLAGS,
        "standard_library": digest_of(library),
        "sha256": hashlib.sha256(module).hexdigest(),
        "bytes": len(module),
    }


def interface(module: bytes) -> set[tuple[object, ...]]:
    """Imports and exports: kind, names, and of functions their parameters and results."""
    at = 8

    def number() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte, at = module[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    def text() -> bytes:
        nonlocal at
        at += (length := number())
        return module[at - length : at]

    types: list[tuple[bytes, bytes]] = []
    functions: list[int] = []
    found: set[tuple[object, ...]] = set()
    while at < len(module):
        section, size = number(), number()
        end = at + size
        for _ in range(number() if section in (1, 2, 3, 7) else 0):
            if section == 1:
                at += 1
                types.append((text(), text()))
            elif section == 2:
                place, _kind = (text(), text()), number()
                functions.append(number())
                found.add(("import", *place, *types[functions[-1]]))
            elif section == 3:
                functions.append(number())
            else:
                name, kind, index = text(), number(), number()
                found.add(("export", name, kind, *(types[functions[index]] if kind == 0 else ())))
        at = end
    return found


def write(library: Path) -> None:
    """Writes the module and what is said of it."""
    module = build()
    MODULE.parent.mkdir(parents=True, exist_ok=True)
    MODULE.write_bytes(module)
    NOTES.write_text(json.dumps(notes_of(module, library), indent=2) + "\n")
    packed = len(gzip.compress(module, 9))
    print(f"{MODULE.relative_to(ROOT)}: {len(module):,} bytes, {packed:,} gzipped")


def check(library: Path) -> str | None:
    """Builds and compares; what is wrong, if something is."""
    committed, notes = MODULE.read_bytes(), json.loads(NOTES.read_text())
    module = build()
    now = notes_of(module, library)
    if all(now[key] == notes[key] for key in ("rustc", "flags", "standard_library")):
        if module == committed:
            print(f"{MODULE.relative_to(ROOT)} is what these sources give: the same {len(module):,} bytes")
            return None
        return "these sources give other bytes: run make wasm and commit"
    if interface(module) != interface(committed):
        return "these sources give other imports or exports: run make wasm and commit"
    print(
        f"{MODULE.relative_to(ROOT)} was built with another standard library or compiler, so bytes are not compared; "
        "imports and exports are equal, and the tests run every vector on both modules"
    )
    return None


def main() -> str | None:
    """Does what the command line says; what is wrong, if something is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed module instead of writing it")
    arguments = parser.parse_args()
    committed = MODULE.is_file() and NOTES.is_file()
    if committed:
        notes = json.loads(NOTES.read_text())
        if hashlib.sha256(MODULE.read_bytes()).hexdigest() != notes["sha256"]:
            return f"{MODULE.relative_to(ROOT)} is not what {NOTES.name} says: run make wasm"
    elif arguments.check:
        return f"{MODULE.relative_to(ROOT)} is missing: run make wasm"
    library = standard_library()
    if library is not None:
        return check(library) if arguments.check else write(library)
    if committed:
        print(f"left out: building the WASM module (rustup cannot add {TARGET} here); the committed one is used")
        return None
    return f"rustup cannot add {TARGET} here, and {MODULE.relative_to(ROOT)} is missing"


if __name__ == "__main__":
    try:
        problem = main()
    except subprocess.CalledProcessError as error:
        problem = f"{' '.join(map(str, error.cmd))}: status {error.returncode}"
    sys.exit(problem and f"wasm.py: {problem}")
