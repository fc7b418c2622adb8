"""The command ``caudal``: what a file holds, running its functions, the devices there are."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .device import facts
from .errors import Error, FileError, make
from .program import Program, load
from .spec import TensorSpec

_DESCRIPTION = "Look at program files of caudal and run their functions."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="caudal", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"caudal {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info = commands.add_parser(
        "info",
        help="print what a file holds",
        description="Print a file's functions (inputs, outputs, doc, ops, memory of a call), its state and metadata.",
    )
    info.add_argument("file", metavar="FILE", help="a program file, or any safetensors file")
    info.add_argument("--graph", action="store_true", help="print the graphs of the functions, too")
    info.add_argument(
        "--explain", metavar="FUNCTION", help="print the graph that a call runs: what is fused, where that ends and why"
    )
    info.add_argument(
        "--typescript", action="store_true", help="print the type of the functions for load() in JavaScript"
    )
    run = commands.add_parser(
        "run",
        help="run a function of a file",
        description="Run a function. Without -o its outputs are printed. The file is not changed.",
        epilog="example: caudal run fashion.caudal predict x=images.npy -o probabilities.npz",
    )
    run.add_argument("file", metavar="FILE", help="a program file")
    run.add_argument("function", metavar="FUNCTION", help="the name of a function; `caudal info FILE` lists them")
    run.add_argument(
        "inputs", metavar="NAME=VALUE", nargs="*", help="an input: a .npy file, or a number or list such as [0, 1]"
    )
    run.add_argument("-o", "--output", metavar="FILE.npz", help="write the outputs there, by name")
    run.add_argument("--save", metavar="FILE", help="write the program with the state after the run there")
    run.add_argument("--device", default="cpu", help="cpu (default), gpu:0 or auto")
    devices = commands.add_parser(
        "devices",
        help="list the devices",
        description="List the devices that sessions can run on: of GPUs also what they are, can do and hold.",
    )
    devices.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


@contextmanager
def _file(verb: str, path: str) -> Iterator[None]:
    """Says what the system says of a file as the core does."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        text = f"cannot {verb} {path}: {error.strerror} (os error {error.errno})"
        raise make(FileError, text) from None


def _input(text: str) -> tuple[str, Any]:
    """The name and the value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE, such as x=input.npy")
    if value.endswith(".npy"):
        with _file("open", value):
            return name, np.load(value, allow_pickle=False)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        raise ValueError(f"{name} is {value!r}, neither a .npy file nor a number or list") from None


def _info(arguments: argparse.Namespace) -> None:
    program = Program.open(arguments.file)
    if arguments.explain:
        with program.session() as session:
            print(session.explain(arguments.explain), end="")
    elif arguments.typescript:
        print(_typescript(Path(arguments.file).stem, program))
    else:
        print(program.info(graph=arguments.graph), end="")


def _typescript(stem: str, program: Program) -> str:
    """The type of a program's functions, as ``load`` of the npm package takes it."""
    name = "".join(word[:1].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", stem))
    functions = (
        f"  {key}: {{ inputs: {_dtypes(info.inputs)}; outputs: {_dtypes(info.outputs)} }}"
        for key, info in program.functions.items()
    )
    return f"type {name if name[:1].isalpha() else 'Program' + name} = {{\n" + ";\n".join(functions) + " };"


def _dtypes(specs: Mapping[str, TensorSpec]) -> str:
    """The dtypes of inputs or outputs as a type of TypeScript."""
    entries = (
        f'{name if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else json.dumps(name)}: "{spec.dtype}"'
        for name, spec in specs.items()
    )
    return f"{{ {'; '.join(entries)} }}" if specs else "{}"


def _run(arguments: argparse.Namespace) -> None:
    inputs = dict(map(_input, arguments.inputs))
    with load(arguments.file, device=arguments.device) as session:
        outputs: dict[str, Any] = {
            name: tensor.numpy() for name, tensor in session.run(arguments.function, inputs).items()
        }
        if arguments.save:
            session.save(arguments.save)
    if arguments.output:
        with _file("save", arguments.output), open(arguments.output, "wb") as file:
            np.savez(file, **outputs)
        return
    for name, array in outputs.items():
        print(f"{name}: {array.dtype}{list(array.shape)}\n{array}")


def _devices(arguments: argparse.Namespace) -> None:
    found = facts()
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(map(_device, found)))


def _device(fact: Mapping[str, Any]) -> str:
    """What is known of a device, one thing a line."""
    if "adapter" not in fact:
        return str(fact["name"])
    size, memory = _bytes, {key: _bytes(count) for key, count in fact["memory"].items()}
    kind = "software" if fact["software"] else "hardware"
    features = [name for name in ("f16", "subgroups") if fact[name]]
    return "\n".join(
        (
            f"{fact['name']}: {fact['adapter']} ({kind}, {fact['backend']})",
            f"    features   {', '.join(features) or 'none beyond those of WebGPU'}",
            f"    buffers    {size(fact['buffer_bytes'])} at most, {size(fact['binding_bytes'])} in a binding, "
            f"{fact['storage_buffers']} bindings in a shader",
            f"    workgroup  {fact['invocations']} invocations, {size(fact['workgroup_bytes'])}",
            f"    memory     {memory['used']} used ({memory['peak']} at most), {memory['pooled']} pooled",
        )
    )


def _bytes(count: int) -> str:
    """Bytes in the unit that people read."""
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and unit != "GiB":
        value, unit = value / 1024, next(units)
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit status: 0, 1 for an error (one line on stderr), 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        {"info": _info, "run": _run, "devices": _devices}[parsed.command](parsed)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (Error, OSError, ValueError) as error:
        print(f"caudal: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
