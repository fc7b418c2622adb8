"""The WASM module's raw exports, driven by wasmtime: handles are numbers, results are read from its memory."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import wasmtime

ROOT = Path(__file__).resolve().parent.parent.parent
# The constants of the C header.
CONSTANTS = {
    name: int(value)
    for name, value in re.findall(r"^(CDL_\w+) (\d+)$", (ROOT / "c_api" / "symbols.txt").read_text(), re.MULTILINE)
}
CODES = {
    CONSTANTS[f"CDL_{name.upper()}"]: name
    for name in (
        "argument dtype shape index name closed format newer io memory deadline cancelled device unsupported internal"
    ).split()
}
DTYPES = {
    name: CONSTANTS[f"CDL_{short}"]
    for name, short in {
        "bool": "BOOL",
        **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
        **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
        **{"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"},
    }.items()
}
NAMES = {code: name for name, code in DTYPES.items()}
# CDL_NUL, where size_t has 32 bits.
NUL = 0xFFFFFFFF
PAGE = 65536


class Failure(Exception):
    """A cdl_error: the message, and its other fields."""

    def __init__(self, code: str, message: str, op: str | None, argument: str | None, location: str | None) -> None:
        super().__init__(message)
        self.code, self.op, self.argument, self.location = code, op, argument, location


class Compiled:
    """A module, compiled once for all its instances."""

    def __init__(self, path: Path) -> None:
        self.engine = wasmtime.Engine()
        self.module = wasmtime.Module(self.engine, path.read_bytes())

    def instance(self, memory: int | None = None) -> Instance:
        """A new instance, whose memory never has more than `memory` bytes."""
        return Instance(self, memory)


class Instance:
    """An instance. A trap, which no input may cause, is a wasmtime.Trap."""

    def __init__(self, compiled: Compiled, memory: int | None) -> None:
        self.store = wasmtime.Store(compiled.engine)
        if memory is not None:
            self.store.set_limits(memory_size=memory)
        # Whether the run is to be cancelled; it is asked between steps and in kernels.
        self.poll: Callable[[], int] = lambda: 0
        i32, f64 = wasmtime.ValType.i32(), wasmtime.ValType.f64()
        host = {
            "clock": wasmtime.Func(self.store, wasmtime.FuncType([], [f64]), time.monotonic),
            "poll": wasmtime.Func(self.store, wasmtime.FuncType([], [i32]), lambda: self.poll()),
            # No GPU is opened here, so it is never asked.
            "gpu": wasmtime.Func(self.store, wasmtime.FuncType([i32, i32, i32], [i32]), lambda *_: 2),
            "panic": wasmtime.Func(self.store, wasmtime.FuncType([i32, i32], []), self._panic),
        }
        imports = [host[entry.name] for entry in compiled.module.imports]
        exports = wasmtime.Instance(self.store, compiled.module, imports).exports(self.store)
        self.memory: Any = exports["memory"]
        self._exports = exports
        # Room for results and lists of handles; small, as every call uses it.
        self.room = self.call("cdl_alloc", 4096)

    def _panic(self, message: int, length: int) -> None:
        raise AssertionError(f"caudal panicked: {self.read(message & NUL, length & NUL).decode()}")

    def call(self, name: str, *arguments: int | float) -> int:
        """Calls an export that gives a number or nothing."""
        signed = [value - (1 << 32) if isinstance(value, int) and value >= 1 << 31 else value for value in arguments]
        result = self._exports[name](self.store, *signed)
        return 0 if result is None else result & NUL

    def do(self, name: str, *arguments: int | float) -> None:
        """Calls an export that gives an error.

        Raises:
            Failure: what it gave.
        """
        error = self.call(name, *arguments)
        if error:
            code, line, message, op, argument, file = self.words(error, 6)
            location = f"{self.text(file)}:{line}" if file else None
            failure = Failure(CODES[code], self.text(message) or "", self.text(op), self.text(argument), location)
            self.call("cdl_error_free", error)
            raise failure

    def make(self, name: str, *arguments: int | float) -> int:
        """Calls an export that gives an error and, through its last argument, a handle."""
        self.do(name, *arguments, self.room)
        return self.words(self.room, 1)[0]

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.memory.read(self.store, address, address + length))

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.read(address, 4 * count))

    def text(self, address: int) -> str | None:
        """A NUL-terminated text; None for a null pointer."""
        if address == 0:
            return None
        data = b""
        while b"\0" not in data:
            end = min(address + len(data) + 256, self.memory.data_len(self.store))
            data += self.read(address + len(data), end - address - len(data))
        return data.partition(b"\0")[0].decode()

    def put(self, data: bytes, address: int) -> int:
        self.memory.write(self.store, data, address)
        return address

    def list(self, handles: Sequence[int], at: int) -> int:
        """Handles in the room's second half, from its element `at` on."""
        return self.put(struct.pack(f"<{len(handles)}I", *handles), self.room + 2048 + 4 * at)

    def with_bytes(self, data: bytes, use: Callable[[int, int], Any]) -> Any:
        """What `use` gives for a copy of the data, by address and length."""
        address = self.call("cdl_alloc", max(len(data), 1))
        if address == 0:
            raise Failure("memory", "no memory for the caller's bytes", None, None, None)
        try:
            return use(self.put(data, address), len(data))
        finally:
            self.call("cdl_dealloc", address, max(len(data), 1))

    def named(self, name: str, handle: int, text: str) -> int:
        """Makes a handle by handle and name."""
        return self.with_bytes(text.encode(), lambda at, length: self.make(name, handle, at, length))

    def json(self, name: str, *arguments: int | float) -> Any:
        """What an export that gives cdl_bytes of JSON says."""
        return json.loads(self.bytes(name, *arguments))

    def bytes(self, name: str, *arguments: int | float) -> bytes:
        handle = self.make(name, *arguments)
        data = self.read(*self.words(handle, 2))
        self.call("cdl_bytes_free", handle)
        return data

    def tensor(self, dtype: str, shape: Sequence[int], data: bytes | None) -> int:
        """A tensor with a copy of the data; None leaves it uninitialised."""
        count = len(data) if data is not None else 0
        dims = self.put(struct.pack(f"<{len(shape)}q", *shape), self.room + 1024)
        if data is None:
            return self.make("cdl_tensor_new", DTYPES[dtype], dims, len(shape), 0, 0)
        handle = self.make("cdl_tensor_new", DTYPES[dtype], dims, len(shape), 0, count)
        self.put(data, self.call("cdl_tensor_data_mut", handle))
        return handle

    def value(self, tensor: int) -> tuple[str, tuple[int, ...], bytes]:
        """Dtype, shape and data."""
        data, dims, rank, size, dtype, _device = self.words(tensor, 6)
        return NAMES[dtype], struct.unpack(f"<{rank}q", self.read(dims, 8 * rank)), self.read(data, size)

    def free(self, tensors: Sequence[int]) -> None:
        for tensor in tensors:
            self.call("cdl_tensor_free", tensor)

    def limits(self, memory: int = 0, seconds: float = 0.0) -> int:
        return self.make("cdl_limits_new", memory, seconds)

    def program(self, file: bytes, limits: int = 0) -> int:
        return self.with_bytes(file, lambda at, length: self.make("cdl_program_read", at, length, limits))

    def session(self, program: int, options: dict[str, Any] | None = None, limits: int = 0) -> int:
        text = json.dumps(options or {}).encode()
        return self.with_bytes(text, lambda at, length: self.make("cdl_program_session", program, at, length, limits))

    def function(self, session: int, name: str) -> int:
        return self.named("cdl_session_function", session, name)

    def names(self, function: int, side: str) -> list[str]:
        """The names of a function's inputs or outputs."""
        found: list[str] = []
        while self.call("cdl_function_spec", function, CONSTANTS[f"CDL_{side}"], len(found), self.room):
            found.append(self.text(self.words(self.room, 1)[0]) or "")
        return found

    def run(self, function: int, inputs: Sequence[int], limits: int = 0) -> list[int]:
        """Runs a function to its end; its outputs."""
        count = len(self.names(function, "OUTPUT"))
        given, outputs = self.list(inputs, 0), self.room + 2048 + 4 * len(inputs)
        self.do("cdl_function_run", function, given, len(inputs), limits, outputs, count, 0)
        return list(self.words(outputs, count))

    def op(self, name: str, attrs: dict[str, Any]) -> int:
        """An op with attrs."""

        def with_name(at: int, length: int) -> int:
            text = json.dumps(attrs).encode()
            return self.with_bytes(text, lambda to, size: self.make("cdl_op_new", at, length, to, size))

        return self.with_bytes(name.encode(), with_name)

    def eager(self, op: int, inputs: Sequence[int], most: int = 64) -> list[int]:
        """Runs an op at once; its outputs."""
        given, outputs = self.list(inputs, 0), self.room + 2048 + 4 * len(inputs)
        self.do("cdl_eager", op, given, len(inputs), 0, outputs, most, self.room)
        return list(self.words(outputs, self.words(self.room, 1)[0]))
