"""Sessions: programs with live state."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any

from . import _convert, _placement, _run, tree
from ._ffi import CData, address, bytes_of, check, dumps, ffi, lib, names, owned, owned_tensor, tensors_of, wait
from .device import Device, name_of
from .errors import ArgumentError, Error, UnknownNameError, make
from .limits import Limits, handle
from .program import FunctionInfo, Program
from .spec import TensorSpec
from .tensor import Tensor

__all__ = ["Session", "SessionFunction"]


class SessionFunction:
    """A function of a session; called, it gives what was traced: a tensor, or tuples, lists and dicts of them.

    It may be called from many threads. Where it writes state, calls run one after the other, and the state is as
    before if one fails.
    """

    def __init__(self, session: Session, info: FunctionInfo) -> None:
        self._session = session
        self.info = info
        self.__name__ = info.name
        self.__doc__ = info.doc or None
        function = ffi.new("cdl_function **")
        name = info.name.encode()
        check(lib.cdl_session_function(session._handle, name, len(name), function))
        self._function: CData = function[0]
        self._address = address(function[0])

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Runs it.

        Args:
            arguments: The inputs in order: tensors, arrays, numbers, lists.
            named: Inputs by name.

        Raises:
            ArgumentError: an input too many, or one that is missing.
            DTypeError: an input of another dtype.
            ShapeError: an input of another shape.
            DeadlineError: the time limit of the session.
            ClosedError: the session is closed.
        """
        outputs = self._run(self._inputs(arguments, named), None)
        structure = self.info.structure
        if structure is None:
            if list(self.info.outputs) == ["output"]:
                return outputs[0]
            return dict(zip(self.info.outputs, outputs, strict=True))
        return tree.unflatten(structure, list(outputs))

    def _inputs(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> _run.Inputs:
        inputs = self.info.inputs
        if not named and len(arguments) == len(inputs):
            given: Any = zip(inputs, arguments, strict=True)
        else:
            given = self._bind(arguments, named).items()
        fitted = _run.Inputs(self.info.name, bool(self.info.writes))
        for key, value in given:
            fitted.add(value, inputs[key], key)
        return fitted

    def _bind(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs by name, in order."""
        known = list(self.info.inputs)
        takes = f"it takes {', '.join(known) or 'no inputs'}"
        if len(arguments) > len(known):
            text = f"{len(arguments)} inputs were given, {takes}"
            raise make(ArgumentError, text, op=self.info.name, argument="inputs")
        values = dict(zip(known, arguments, strict=False))
        for key, value in named.items():
            if key not in known:
                raise make(UnknownNameError, f"there is no input {key!r}; {takes}", op=self.info.name, argument=key)
            if key in values:
                raise make(ArgumentError, f"the input {key} was given twice", op=self.info.name, argument=key)
            values[key] = value
        missing = [key for key in known if key not in values]
        if missing:
            text = f"the input {missing[0]} is missing; {takes}"
            raise make(ArgumentError, text, op=self.info.name, argument=missing[0])
        return {key: values[key] for key in known}

    def _run(self, inputs: _run.Inputs, limits: Limits | None) -> list[Tensor]:
        return _run.run(self._address, inputs, limits)

    def __repr__(self) -> str:
        return f"<function of a caudal session: {self.info!r}>"


class _SessionState(MutableMapping[str, Tensor]):
    """The state of a session by name. A tensor that was read stays as it was; `update` sets all or none."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, name: str) -> Tensor:
        data = name.encode()
        return Tensor(owned_tensor(lib.cdl_session_state, self._session._handle, data, len(data)))

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        raise TypeError("state cannot be deleted; use Program.select")

    def update(self, changes: Any = (), /, **named: Any) -> None:
        """Sets state, all of it or, on an error, none. Numbers and lists take the state's dtype.

        Raises:
            UnknownNameError: there is no such state.
            DTypeError: another dtype.
            ShapeError: another shape.
        """
        values = dict(changes, **named)
        program = self._session.program
        tensors = [_fit_state(name, value, program.state[name].spec) for name, value in values.items()]
        array, kept = names(list(values))
        operands = tensors_of([tensor._handle for tensor in tensors])
        wait(lib.cdl_session_set_state_within, self._session._handle, array, operands, len(kept))

    def __iter__(self) -> Iterator[str]:
        return iter(self._session.program.state)

    def __len__(self) -> int:
        return len(self._session.program.state)

    def __contains__(self, name: object) -> bool:
        return name in self._session.program.state

    def __repr__(self) -> str:
        return f"<state of a caudal session: {', '.join(self)}>"


def _fit_state(name: str, value: Any, spec: TensorSpec) -> Tensor:
    if not _convert.is_plain(value):
        return _run.at_hand(_convert.tensor(value, None), name, "state")
    try:
        return _run.fit(value, spec, name, "state")
    except Error as error:
        raise make(type(error), str(error).removeprefix("state: "), argument=name) from None


class Session:
    """A program with live state; `caudal.load` and `Program.session` make it.

    Functions are attributes, ``s.predict(x)``, unless the session has that name itself; ``s["save"]`` always reaches
    the function. Calls may come from many threads. It may be used with ``with``, which closes it.

    Attributes:
        program: The program that it was made of.
    """

    def __init__(
        self,
        program: Program,
        *,
        device: str | Device = "cpu",
        strict: bool = False,
        debug: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.program = program
        name = name_of(device)
        options: dict[str, object] = {"device": name}
        if strict:
            options["strict"] = True
        if debug:
            options["debug"] = debug
        text = dumps(options, "options")
        self._handle: CData = owned(
            "session", lib.cdl_program_session, program._handle, text, len(text), handle(limits)
        )
        if name != "cpu":
            _placement.note()
        self._functions: dict[str, SessionFunction] = {}
        for note in self.report()["notes"]:
            warnings.warn(str(note), stacklevel=3)

    def __getitem__(self, name: str) -> SessionFunction:
        found = self._functions.get(name)
        if found is None:
            found = self._functions[name] = SessionFunction(self, self.program.functions[name])
        return found

    def __getattr__(self, name: str) -> SessionFunction:
        if "program" not in self.__dict__:
            # A copy that is being made.
            raise AttributeError(name)
        if name.startswith("__") or name not in self.program.functions:
            known = ", ".join(self.program.functions) or "none"
            text = f"the session has neither an attribute nor a function {name!r}; its functions are: {known}"
            raise AttributeError(text)
        return self[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.program.functions})

    def run(
        self, name: str, inputs: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> dict[str, Tensor]:
        """Calls a function with inputs by name.

        Args:
            name: The function.
            inputs: Its inputs: tensors, arrays, numbers, lists.
            limits: What the call may spend; what it leaves open is limited by the session's.

        Returns:
            The outputs by name, whatever structure was traced.

        Raises:
            UnknownNameError: there is no such function or input.
            Error: as for a call of the function.
        """
        function = self[name]
        outputs = function._run(function._inputs((), inputs or {}), limits)
        return dict(zip(function.info.outputs, outputs, strict=True))

    @property
    def state(self) -> _SessionState:
        """Its state by name: to read, to set one by one, or with ``update`` all or none."""
        return _SessionState(self)

    def snapshot(self) -> Program:
        """A program with the state of this moment, made without a copy: to save, undo, clone."""
        return Program(owned("program", lib.cdl_session_snapshot, self._handle))

    def restore(self, program: Program | Session, *, strict: bool = False) -> None:
        """Takes the state of a program, by name.

        Args:
            program: A snapshot, any program or safetensors file with weights, or a session.
            strict: Whether both must have the same names; else what both have is taken.

        Raises:
            ArgumentError: neither a program nor a session.
            UnknownNameError: strict, and a name that only one of them has.
            DTypeError: state of another dtype; nothing is changed then.
            ShapeError: state of another shape; nothing is changed then.
        """
        given: Any = program.snapshot() if isinstance(program, Session) else program
        if not isinstance(given, Program):
            text = f"{type(given).__name__} is neither a program nor a session; open a file with cd.Program.open"
            raise make(ArgumentError, text, op="restore", argument="program")
        wait(lib.cdl_session_restore_within, self._handle, given._handle, int(strict))

    def save(self, path: str | os.PathLike[str], *, lines: bool = True) -> None:
        """Saves the program with the state of this moment; see `Program.save`."""
        self.snapshot().save(path, lines=lines)

    def memory(self, name: str, /, **dims: int) -> int:
        """Bytes that a call of a function takes, beside its inputs and the state, at some sizes.

        Args:
            name: The function.
            dims: The size of each symbol in its inputs, such as ``batch=32``.

        Raises:
            ArgumentError: a size that is missing, or a symbol that it has not.
        """
        text = dumps(dims, "dims")
        plan = json.loads(bytes_of(lib.cdl_function_plan, self[name]._function, text, len(text)))
        return int(plan["memory"])

    @property
    def device(self) -> str:
        """The device that it runs on, where its state and outputs are."""
        return str(self.report()["device"])

    def placement(self) -> dict[str, Any]:
        """Where each function runs, by its name: ``"cpu"``, or on a device the list of its steps.

        A step is a dict with its ``op``, the ``device`` that runs it, ``why`` if that is not the session's, and the
        user's ``file`` and ``line``. They are those at the sizes of the last call; before one, at 8 for each symbol.
        """
        placement: dict[str, Any] = json.loads(bytes_of(lib.cdl_session_placement, self._handle))
        return placement

    def explain(self, name: str, /) -> str:
        """The graph that a call of a function runs, as text.

        The passes have been through it: what was fused is one node, ``fused``, with the nodes that it computes. A
        comment after it, or after a node that could be in one, says which node ends it and why. Constants of more
        than 8 elements stand there without them.

        Args:
            name: The function.

        Raises:
            UnknownNameError: there is no such function.

        Example:
            A softmax is one step, which the product ends. Without the nodes inside of it:

                %2 = fused(%0) {...} [...] : float32[n, 4]  # ends at %3: dot_general begins its cluster
                %3 = dot_general(%2, %1) {...} : float32[n, 2]

            >>> import caudal as cd
            >>> graph = cd.Graph()
            >>> x, w = graph.input("x", "float32[n, 4]"), graph.input("w", "float32[4, 2]")
            >>> predict = graph.function("predict", cd.softmax(x) @ w)
            >>> with graph.program().session() as s:
            ...     text = s.explain("predict")
            >>> text.count(" = fused("), "# ends at %3: dot_general begins its cluster" in text
            (1, True)
        """
        return bytes_of(lib.cdl_function_explain, self[name]._function).decode()

    def report(self) -> dict[str, Any]:
        """What it did: ``device``, ``placement``, ``memory`` (limit, used, peak), ``preparation``, ``notes``.

        ``preparation`` says why first calls were slow. For each function that was made ready it holds the ``seconds``
        that this took: passes and plan once, then a part for each set of ``sizes`` (how many there were), in which a
        GPU's ``pipelines`` (shaders, how many there were) are compiled.

        Example:
            >>> import caudal as cd
            >>> graph = cd.Graph()
            >>> double = graph.function("double", graph.input("x", "float32[n]") * 2)
            >>> with graph.program().session() as s:
            ...     y = s.double([1.0]), s.double([2.0]), s.double([3.0, 4.0])
            ...     double = s.report()["preparation"]["double"]
            >>> double["sizes"], double["pipelines"], double["seconds"] > 0
            (2, 0, True)
        """
        report: dict[str, Any] = json.loads(bytes_of(lib.cdl_session_report, self._handle))
        return report

    def close(self) -> None:
        """Waits for running calls; later ones raise `ClosedError`. It may be called twice."""
        wait(lib.cdl_session_close_within, self._handle)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<caudal session with {', '.join(self.program.functions) or 'no functions'}>"
