"""caudal: numerical computing and deep learning on dataflow graphs.

Functions are traced into graphs, trained, and saved as one file that holds functions, state and optimizer; Python,
JavaScript, Go and C load that file and run it or go on training it. The names and meanings are the array API's.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from . import clipping, creation, functions, manipulation, ops, optimizers, random, schedules
from .control import cond, scan, while_loop
from .device import Device, device, devices
from .dims import Dim
from .dtypes import (
    DType,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .dtypes import bool_ as bool
from .errors import (
    ArgumentError,
    CancelledError,
    ClosedError,
    DeadlineError,
    DeviceError,
    DTypeError,
    Error,
    FileError,
    FormatError,
    InternalError,
    NewerFileError,
    OutOfBoundsError,
    OutOfMemoryError,
    ShapeError,
    UnknownNameError,
    UnsupportedError,
)
from .function import Function, function
from .gradient import grad, value_and_grad
from .graph import Graph
from .info import num_threads, set_num_threads, version
from .limits import Limits
from .program import Program, load, save
from .session import Session
from .spec import TensorSpec
from .tensor import Tensor, from_dlpack
from .variable import Variable

if TYPE_CHECKING:
    from . import datasets

    # A type checker keeps the first meaning of a name, the interpreter the last.
    from .functions import *  # noqa: F403  # isort: skip
    from .manipulation import *  # noqa: F403  # isort: skip

from .creation import *  # noqa: F403, I001  # isort: skip

# Functions come after the ops: some take the array API's place of an op of the same name.
from .ops import *  # type: ignore[assignment]  # noqa: F403, I001  # isort: skip
from .functions import *  # noqa: F403, I001  # isort: skip
from .clipping import *  # noqa: F403, I001  # isort: skip
from .manipulation import *  # noqa: F403, I001  # isort: skip

__version__ = version()

__all__ = [
    "ArgumentError",
    "CancelledError",
    "ClosedError",
    "DType",
    "DTypeError",
    "DeadlineError",
    "Device",
    "DeviceError",
    "Dim",
    "Error",
    "FileError",
    "FormatError",
    "Function",
    "Graph",
    "InternalError",
    "Limits",
    "NewerFileError",
    "OutOfBoundsError",
    "OutOfMemoryError",
    "Program",
    "Session",
    "ShapeError",
    "Tensor",
    "TensorSpec",
    "UnknownNameError",
    "UnsupportedError",
    "Variable",
    "bfloat16",
    "bool",
    "cond",
    "datasets",
    "device",
    "devices",
    "e",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "function",
    "grad",
    "inf",
    "int16",
    "int32",
    "int64",
    "int8",
    "load",
    "nan",
    "newaxis",
    "num_threads",
    "optimizers",
    "pi",
    "random",
    "save",
    "scan",
    "schedules",
    "set_num_threads",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "value_and_grad",
    "while_loop",
]
__all__ += ops.__all__
__all__ += creation.__all__
__all__ += functions.__all__
__all__ += clipping.__all__
__all__ += manipulation.__all__

e = 2.718281828459045
inf = float("inf")
nan = float("nan")
newaxis = None
pi = 3.141592653589793


def __getattr__(name: str) -> ModuleType:
    # Loaded when asked for: it brings Python's network modules.
    if name == "datasets":
        import importlib

        return importlib.import_module(".datasets", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
