"""Programs: functions, state and metadata; what a file holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from ._ffi import CData, bytes_of, check, dumps, ffi, lib, names, owned, owned_tensor
from .device import Device
from .dtypes import DType
from .errors import ArgumentError, UnknownNameError, make
from .limits import Limits, handle
from .spec import TensorSpec
from .tensor import Tensor
from .tree import Structure

if TYPE_CHECKING:
    from .function import Function
    from .session import Session
    from .trace import Trace

__all__ = ["FunctionInfo", "Program", "State", "load", "save"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
"""A file: its path, its bytes, or the open file."""


class FunctionInfo:
    """What a program says of one of its functions.

    Attributes:
        name: Its name.
        doc: Its documentation.
        inputs: The spec of each input by name, in order.
        outputs: The spec of each output by name, in order.
        reads: The names of the state that it reads.
        writes: The names of the state that it writes.
        ops: How often each op stands in it.
        structure: How its outputs are put together for Python; None gives a dict.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self.name: str = info["name"]
        self.doc: str = info["doc"]
        self.inputs: dict[str, TensorSpec] = _specs(info["inputs"])
        self.outputs: dict[str, TensorSpec] = _specs(info["outputs"])
        self.reads: list[str] = info["reads"]
        self.writes: list[str] = info["writes"]
        self.ops: dict[str, int] = info["ops"]
        self.structure: Structure | None = info["structure"]

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(f"{name}: {spec}" for name, spec in specs.items()) for specs in (self.inputs, self.outputs)
        )
        return f"{self.name}({inputs}) -> ({outputs})"


def _specs(entries: list[dict[str, str]]) -> dict[str, TensorSpec]:
    return {entry["name"]: TensorSpec.parse(entry["spec"]) for entry in entries}


class State:
    """State of a program: a named tensor that functions read and write.

    Attributes:
        name: Its name.
        role: What it is for: ``"parameter"``, ``"optimizer"``, ``"statistic"``, ``"random"`` or ``"other"``.
        spec: Its dtype and shape.
        nbytes: How many bytes it takes.
    """

    def __init__(self, program: CData, info: dict[str, Any]) -> None:
        self._program = program
        self.name: str = info["name"]
        self.role: str = info["role"]
        self.spec: TensorSpec = TensorSpec.parse(info["spec"])
        self.nbytes: int = info["bytes"]

    @property
    def dtype(self) -> DType:
        """Its dtype."""
        return self.spec.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(dim.__index__() for dim in self.spec.shape)

    @property
    def value(self) -> Tensor:
        """Its value in the program."""
        name = self.name.encode()
        return Tensor(owned_tensor(lib.cdl_program_state, self._program, name, len(name)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.value.__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"{self.name}: {self.spec} ({self.role}, {self.nbytes} bytes)"


class _Named(Mapping[str, Any]):
    """Things by name; a name that is not there lists those that are."""

    def __init__(self, what: str, entries: dict[str, Any]) -> None:
        self._what = what
        self._entries = entries

    def __getitem__(self, name: str) -> Any:
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(self._entries) or "none"
            raise make(UnknownNameError, f"no {self._what} is named {name!r}; there are: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __repr__(self) -> str:
        return repr(self._entries)


def _content(file: Any) -> bytes:
    """The content of an open file."""
    if not hasattr(file, "read"):
        text = f"{type(file).__name__} is no path, no bytes and no open file"
        raise make(ArgumentError, text, op="open", argument="source")
    data = file.read()
    if not isinstance(data, bytes):
        raise make(ArgumentError, "the file is open as text; open it as 'rb'", op="open", argument="source")
    return data


class Program:
    """Functions, state and metadata. It never changes; a session runs it.

    Example:
        >>> import caudal as cd
        >>> @cd.function(signature={"x": "float32[n]"})
        ... def double(x):
        ...     return x * 2
        >>> program = cd.Program.of({"double": double}, metadata={"licence": "CC0"})
        >>> program.functions["double"], program.metadata
        (double(x: float32[n]) -> (output: float32[n]), {'licence': 'CC0'})
        >>> with program.session() as s:
        ...     s.double([1.0, 2.0])
        Tensor([2., 4.], dtype=float32)
    """

    def __init__(self, handle: CData) -> None:
        self._handle = handle

    @staticmethod
    def of(functions: Mapping[str, Function[Any] | Trace], *, metadata: object = None) -> Program:
        """The program of some functions, with the state that they use as it is now.

        Args:
            functions: By the name that each gets: functions with a signature (or one trace), or traces.
            metadata: Anything that has a JSON form, up to 1 MiB.

        Raises:
            ArgumentError: a function without a signature, two variables or outputs of one name, or malformed names.
        """
        from .function import Function
        from .trace import Trace, program_of, session_of

        traces: list[tuple[str, Trace]] = []
        given: Any = functions
        if not isinstance(given, Mapping):
            text = f'the functions are {type(given).__name__}, not by name; write {{"predict": predict}}'
            raise make(ArgumentError, text, op="save", argument="functions")
        for name, value in given.items():
            if not isinstance(value, Trace | Function):
                text = f"{name} is {type(value).__name__}, not a caudal function; decorate it with @cd.function"
                raise make(ArgumentError, text, op="save", argument=name)
            traces.append((name, value if isinstance(value, Trace) else value._saved(name)))
        states: dict[Any, tuple[str, int]] = {}
        owners: dict[str, Any] = {}
        for name, trace in traces:
            for variable in trace.variables:
                other = owners.setdefault(variable.name, variable)
                if other is not variable:
                    text = f"two variables are named {variable.name!r}; give one of them another name"
                    raise make(ArgumentError, text, op="save", argument=name)
                states[variable] = (variable.name, 0)
        session = session_of(program_of([trace.build(name) for name, trace in traces], metadata), states)
        # The values of one moment, whatever trains meanwhile.
        return Program(owned("program", lib.cdl_session_snapshot, session))

    @staticmethod
    def open(source: Source, *, limits: Limits | None = None, map: bool = False) -> Program:
        """Opens a program file, or any safetensors file, which has state and no functions.

        Args:
            source: The path, the bytes, or an open binary file.
            limits: What it may spend.
            map: Whether to use the file's own pages in place of reading it. For a path, and for files that nobody
                changes, other than by renaming a new one over them as `save` does. Training never writes the file.
                A run, eager call or save that finds its length or time of change to be another raises `FileError`;
                a change after that look, or while an array that shares the memory is read, shows through, and on
                Unix reading what was cut off ends the process (SIGBUS).

        Raises:
            ArgumentError: ``map`` and no path.
            FileError: it cannot be read.
            FormatError: it is damaged, or something else.
            NewerFileError: it needs a newer caudal.
            OutOfMemoryError: it needs more memory than the limits give.
        """
        if isinstance(source, str | os.PathLike):
            path = os.fsencode(source)
            options = dumps({"map": True}, "options") if map else b""
            return Program(
                owned("program", lib.cdl_program_open, path, len(path), options, len(options), handle(limits))
            )
        if map:
            raise make(ArgumentError, "only a file that is given by its path can be mapped", op="open", argument="map")
        data = source if isinstance(source, bytes | bytearray | memoryview) else _content(source)
        memory = ffi.from_buffer(data) if len(data) else ffi.NULL
        return Program(owned("program", lib.cdl_program_read, memory, len(data), handle(limits)))

    @cached_property
    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads(bytes_of(lib.cdl_program_info, self._handle, lib.CDL_JSON))
        return info

    @cached_property
    def functions(self) -> Mapping[str, FunctionInfo]:
        """What it says of each of its functions, by name."""
        return _Named("function", {info["name"]: FunctionInfo(info) for info in self._info["functions"]})

    @cached_property
    def state(self) -> Mapping[str, State]:
        """Its state, by name."""
        return _Named("state", {info["name"]: State(self._handle, info) for info in self._info["state"]})

    @property
    def metadata(self) -> Any:
        """What the author says: anything that has a JSON form; None if nothing."""
        return json.loads(json.dumps(self._info["metadata"]))

    def select(self, functions: list[str] | tuple[str, ...]) -> Program:
        """The program with only these functions, and the state that they use.

        Raises:
            UnknownNameError: there is no such function.
        """
        array, kept = names(list(functions))
        return Program(owned("program", lib.cdl_program_select, self._handle, array, len(kept)))

    def save(self, path: str | os.PathLike[str], *, lines: bool = True) -> None:
        """Saves it: the file is the old one or the whole new one, whatever happens.

        Args:
            path: The file.
            lines: Whether to keep the source lines that errors name.

        Raises:
            FileError: it cannot be written.
        """
        given: Any = path
        if not isinstance(given, str | bytes | os.PathLike):
            text = f"{type(given).__name__} is no path; write to_bytes() to an open file"
            raise make(ArgumentError, text, op="save", argument="path")
        data = os.fsencode(path)
        check(lib.cdl_program_save(self._lined(lines)._handle, data, len(data)))

    def to_bytes(self, *, lines: bool = True) -> bytes:
        """The bytes of the file that `save` would write."""
        return bytes_of(lib.cdl_program_write, self._lined(lines)._handle)

    def _lined(self, lines: bool) -> Program:
        """This program, or it without source lines."""
        return self if lines else Program(owned("program", lib.cdl_program_without_lines, self._handle))

    def info(self, *, graph: bool = False) -> str:
        """What it holds, as text; with ``graph`` also the graph of each function."""
        text = bytes_of(lib.cdl_program_info, self._handle, lib.CDL_TEXT).decode()
        if graph:
            text += "\n" + bytes_of(lib.cdl_program_info, self._handle, lib.CDL_GRAPHS).decode()
        return text

    def session(
        self, *, device: str | Device = "cpu", strict: bool = False, debug: bool = False, limits: Limits | None = None
    ) -> Session:
        """A session of it; see `caudal.load` for the arguments."""
        from .session import Session

        return Session(self, device=device, strict=strict, debug=debug, limits=limits)

    def __repr__(self) -> str:
        return f"<caudal program with {', '.join(self.functions) or 'no functions'}; {len(self.state)} state>"


def save(
    path: str | os.PathLike[str],
    functions: Mapping[str, Function[Any] | Trace],
    *,
    metadata: object = None,
    lines: bool = True,
) -> None:
    """Saves functions and the state that they use as one file, from which any language goes on.

    Args:
        path: The file; it is the old one or the whole new one, whatever happens.
        functions: By the name that each gets: functions with a signature (or one trace), or traces.
        metadata: Anything that has a JSON form, up to 1 MiB: labels, licence, how to prepare inputs.
        lines: Whether to keep the source lines that errors name.

    Raises:
        ArgumentError: a function without a signature, two variables or outputs of one name, or malformed names.
        FileError: the file cannot be written.

    Example:
        >>> import os, tempfile
        >>> import caudal as cd
        >>> w = cd.Variable([1.0, 2.0], name="w")
        >>> @cd.function(signature={"x": "float32[2]"})
        ... def predict(x):
        ...     return cd.sum(x * w)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "dot.caudal")
        ...     cd.save(path, {"predict": predict})
        ...     with cd.load(path) as s:
        ...         print(s.predict([3.0, 4.0]))
        Tensor(11., dtype=float32)
    """
    Program.of(functions, metadata=metadata).save(path, lines=lines)


def load(
    source: Source,
    *,
    device: str | Device = "cpu",
    strict: bool = False,
    debug: bool = False,
    limits: Limits | None = None,
    map: bool = False,
) -> Session:
    """Opens a program file and makes a session of it.

    Args:
        source: The path, the bytes, or an open binary file.
        device: ``"cpu"``, ``"gpu:0"``, or ``"auto"``: a hardware GPU, else the CPU.
        strict: Whether it is an error (`UnsupportedError`, with the op and the line) if a step would run elsewhere than
            on the device; else the CPU runs what the device does not, and `Session.placement` tells.
        debug: Whether calls are checked, for finding mistakes: they are slower, and they raise, with the line, where
            an index is outside of its axis (`OutOfBoundsError`), an integer is divided by 0, a number is cast to an
            integer dtype that does not hold it, or an op makes NaN of operands without (`ArgumentError`).
        limits: What opening and each call may spend; a call may bring its own.
        map: Whether to use the file's own pages in place of reading it; see `Program.open`.

    Raises:
        FileError: the file cannot be read.
        FormatError: it is damaged, or something else.
        NewerFileError: it needs a newer caudal.
        DeviceError: there is no such device.
    """
    program = Program.open(source, limits=limits, map=map)
    return program.session(device=device, strict=strict, debug=debug, limits=limits)
