"""Errors: one class for each code that the core knows, each also the built-in error that Python programmers expect."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

__all__ = [
    "ArgumentError",
    "CancelledError",
    "ClosedError",
    "DTypeError",
    "DeadlineError",
    "DeviceError",
    "Error",
    "FileError",
    "FormatError",
    "InternalError",
    "Location",
    "NewerFileError",
    "OutOfBoundsError",
    "OutOfMemoryError",
    "ShapeError",
    "UnknownNameError",
    "UnsupportedError",
]


class Location(NamedTuple):
    """A place in the user's source; as text it is ``model.py:12``."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Error(Exception):
    """What caudal raises; the base of all its errors.

    The text is ``op: what is wrong (file:line)``; the parts are attributes.

    Attributes:
        code: The kind of error, the same word in every language: ``"shape"``, ``"dtype"``, ...
        op: The op (or the program's function) that refused, if one did.
        argument: The input or attr that does not fit, if it is one.
        location: The user's line, where it is known.

    Example:
        >>> import caudal as cd
        >>> try:
        ...     cd.zeros((2, 3)) + cd.zeros((4,))
        ... except cd.Error as error:
        ...     print(error.code, error.op)
        shape add
    """

    code: str = "internal"

    def __init__(
        self,
        message: str,
        *,
        op: str | None = None,
        argument: str | None = None,
        location: Location | None = None,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.argument = argument
        self.location = location

    def __str__(self) -> str:
        # KeyError would quote its text, OSError would look for a number in it.
        return str(self.args[0]) if self.args else ""


class ArgumentError(Error, ValueError):
    """A value that an argument or attr cannot take."""

    code = "argument"


class DTypeError(Error, TypeError):
    """A dtype that does not fit."""

    code = "dtype"


class ShapeError(Error, ValueError):
    """A shape that does not fit."""

    code = "shape"


class OutOfBoundsError(Error, IndexError):
    """An index outside its range, in eager indexing or in a session with ``debug=True``."""

    code = "index"


class UnknownNameError(Error, KeyError):
    """A name that nothing has; the text lists those that there are."""

    code = "name"


class ClosedError(Error, ValueError):
    """A session that was closed."""

    code = "closed"


class FormatError(Error, ValueError):
    """A file or text that is not what it says."""

    code = "format"


class NewerFileError(FormatError):
    """A file that needs a newer caudal."""

    code = "newer"


class FileError(Error, OSError):
    """The operating system refused a file operation."""

    code = "io"


class OutOfMemoryError(Error, MemoryError):
    """The memory limit, or no memory at all."""

    code = "memory"


class DeadlineError(Error, TimeoutError):
    """The time limit."""

    code = "deadline"


class CancelledError(Error):
    """The caller cancelled."""

    code = "cancelled"


class DeviceError(Error, RuntimeError):
    """A device that is missing or failed."""

    code = "device"


class UnsupportedError(Error, NotImplementedError):
    """Not supported here."""

    code = "unsupported"


class InternalError(Error, RuntimeError):
    """A mistake in caudal."""

    code = "internal"


# In the order of the codes' numbers in the C API, which begin with 1.
_CLASSES: tuple[type[Error], ...] = (
    ArgumentError,
    DTypeError,
    ShapeError,
    OutOfBoundsError,
    UnknownNameError,
    ClosedError,
    FormatError,
    NewerFileError,
    FileError,
    OutOfMemoryError,
    DeadlineError,
    CancelledError,
    DeviceError,
    UnsupportedError,
    InternalError,
)


def error_class(number: int) -> type[Error]:
    """The class of a code of the C API; one that is not known is a mistake in caudal."""
    return _CLASSES[number - 1] if 1 <= number <= len(_CLASSES) else InternalError


E = TypeVar("E", bound=Error)


def make(
    kind: type[E],
    text: str,
    *,
    op: str | None = None,
    argument: str | None = None,
    location: Location | None = None,
) -> E:
    """An error of that class whose text has the same form as the core's."""
    message = f"{op}: {text}" if op else text
    if location is not None:
        message = f"{message} ({location})"
    return kind(message, op=op, argument=argument, location=location)
