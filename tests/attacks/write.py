"""Writes the attack corpus: `python tests/attacks/write.py`. Each file is made by hand to do harm in one way.

The files lie in `files/`, and `attacks.json` has what becomes of each: `open` is the whole error of opening it; where
that is missing it opens, and `call` is the whole error of calling its function `f` under `memory` bytes and `seconds`.
`{file}` stands for the path. The messages are written here by hand, not taken from what caudal says.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ATTACKS: dict[str, dict[str, Any]] = {}
NO_FILE = "{file} is not a caudal file: "
SCALAR = "float32[]"
VECTOR = "float32[2]"


def add(name: str, data: bytes, **expected: Any) -> None:
    """A file, and what becomes of it."""
    assert name not in ATTACKS, name
    (FOLDER / "files" / f"{name}.caudal").write_bytes(data)
    ATTACKS[name] = expected


def refused(name: str, data: bytes, message: str, code: str = "format") -> None:
    """A file that does not open."""
    add(name, data, open=(NO_FILE if code == "format" else "") + message, code=code)


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def container(header: str | bytes, data: bytes = b"") -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data


def tensor(dtype: Any, shape: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def tensors(entries: dict[str, Any], data: bytes = b"", about: str | None = None) -> bytes:
    header = dict(entries)
    if about is not None:
        header["__metadata__"] = {"caudal": about}
    return container(text(header), data)


def program(graph: str | bytes, about: dict[str, Any] | None = None, **more: tuple[str, list[int], bytes]) -> bytes:
    """A file whose graphs are this text, with further tensors; its digest is right unless `about` says otherwise."""
    graph = graph.encode() if isinstance(graph, str) else graph
    entries, data = {}, b""
    for name, (dtype, shape, content) in {**more, "caudal.graph": ("U8", [len(graph)], graph)}.items():
        entries[name] = tensor(dtype, shape, len(data), len(data) + len(content))
        data += content
    metadata = {"digest": "sha256:" + hashlib.sha256(graph).hexdigest(), "format": 1, "reader": 1, **(about or {})}
    return tensors(entries, data, text(metadata))


def node(op: str, inputs: list[Any], *outputs: str, **more: Any) -> dict[str, Any]:
    return {"op": op, "inputs": inputs, "outputs": list(outputs), "location": [0, 12], **more}


def graph(
    inputs: list[tuple[str, str]], nodes: list[Any], outputs: list[Any], requirements: list[Any] | None = None
) -> dict[str, Any]:
    """A graph whose inputs are its first values."""
    entry: dict[str, Any] = {"inputs": [[name, spec, index] for index, (name, spec) in enumerate(inputs)]}
    entry.update(nodes=nodes, outputs=outputs)
    if requirements is not None:
        entry["requirements"] = requirements
    return entry


def function(graph: Any, inputs: list[str], outputs: list[str], **changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": "f", "doc": "", "structure": None, "inputs": inputs, "outputs": outputs}
    return {**entry, "reads": [], "writes": [], "graph": graph, **changes}


def document(table: list[Any], functions: list[Any], ops: dict[str, Any] | None = None, **changes: Any) -> str:
    """The text of `caudal.graph`."""
    used = {node["op"]: 1 for entry in table for node in entry["nodes"] if isinstance(node, dict)}
    graphs = {"files": ["model.py"], "ops": used if ops is None else ops, "table": table}
    return text({"functions": functions, "graphs": graphs, "metadata": None, "state": [], **changes})


def one_graph(entry: dict[str, Any], ops: dict[str, Any] | None = None, **changes: Any) -> str:
    """The text of a program whose function `f` is this graph."""
    inputs = [name for name, _, _ in entry["inputs"]]
    outputs = [f"y{index}" for index in range(len(entry["outputs"]))]
    return document([entry], [function(0, inputs, outputs)], ops, **changes)


def one_node(node: Any, ops: dict[str, Any] | None = None) -> bytes:
    """A program with one node on the input `x` of shape [2], which is its output too."""
    return program(one_graph(graph([("x", VECTOR)], [node], [0]), ops))


GOOD = one_graph(graph([("x", VECTOR)], [node("exp", [0], VECTOR)], [1]))


def containers() -> None:
    """The container: its header, its tensors, where they lie."""
    refused("empty", b"", "it has 0 bytes")
    refused("five_bytes", b"abcde", "it has 5 bytes")
    refused("web_page", b"<!DOCTYPE html><html>", 'it begins with "<!DOCTYP"')
    refused("header_of_no_bytes", struct.pack("<Q", 0) + b"{}", "its header would take 0 bytes")
    refused("header_of_2_63_bytes", struct.pack("<Q", 1 << 63) + b"{}", f"its header would take {1 << 63} bytes")
    beyond = struct.pack("<Q", 99_999_999) + b"{}"
    add("header_beyond_the_file", beyond, open="{file} is cut short: 10 bytes of 100000007", code="format")
    refused("header_not_utf8", container(b'{"\xff":1}'), "its header is not UTF-8")
    refused("header_a_list", container("[]"), "its header does not begin with `{`")
    refused("header_cut", container('{"w":'), "its header: JSON: EOF while parsing a value at line 1 column 5")
    deep = '{"w":' + "[" * 200 + "]" * 200 + "}"
    refused("header_deep", container(deep), "its header: JSON: recursion limit exceeded at line 1 column 132")
    twice = '{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    where = twice.index('"w"', 5) + 3
    refused(
        "tensor_twice",
        container(twice, b"\1"),
        f'its header: JSON: the key "w" stands twice in one object at line 1 column {where}',
    )
    twice = '{"__metadata__":{"caudal":"{}"},"__metadata__":{"caudal":"{}"}}'
    where = twice.index('"__metadata__"', 5) + len('"__metadata__"')
    refused(
        "metadata_twice",
        container(twice),
        f'its header: JSON: the key "__metadata__" stands twice in one object at line 1 column {where}',
    )
    refused("metadata_of_numbers", container('{"__metadata__":{"a":1}}'), "its __metadata__ is not an object of texts")
    described = 'tensor "w": it is described by dtype, shape and data_offsets, nothing else'
    refused("tensor_a_number", container('{"w":1}'), 'tensor "w": its description is not an object')
    refused("tensor_with_more", tensors({"w": {**tensor("U8", [1], 0, 1), "path": "/etc/passwd"}}, b"1"), described)
    refused("tensor_with_less", tensors({"w": {"dtype": "U8", "shape": [1]}}, b"1"), described)
    message = '{file}: tensor "w" has the dtype "F8_E4M3"'
    refused("dtype_unknown", tensors({"w": tensor("F8_E4M3", [1], 0, 1)}, b"1"), message, "unsupported")
    shapes: dict[str, tuple[Any, str]] = {
        "size_negative": ([-1], "its shape is not a list of sizes"),
        "size_a_half": ([0.5], "its shape is not a list of sizes"),
        "size_2_63": ([1 << 63], "its size 9223372036854775808 is larger than memory can be"),
        "rank_33": ([1] * 33, "its shape has 33 dims, more than 32"),
        "bytes_2_66": (
            [1 << 32, 1 << 31],
            "a float64 tensor of shape [4294967296, 2147483648] is larger than memory can be",
        ),
        "bytes_do_not_fit": ([2], "float64 of shape [2] takes 16 bytes, its data_offsets span 8"),
    }
    for name, (shape, message) in shapes.items():
        refused(name, tensors({"w": tensor("F64", shape, 0, 8)}, bytes(8)), f'tensor "w": {message}')
    ranges: dict[str, tuple[Any, Any, str]] = {
        "offsets_negative": (-1, 0, "its data_offsets are not a range"),
        "offsets_reversed": (1, 0, "its data_offsets are not a range"),
        "offsets_a_text": ("0", "1", "its data_offsets are not a range"),
        "offsets_2_64": ((1 << 64) - 2, (1 << 64) - 1, "its data_offsets are too large"),
    }
    for name, (start, end, message) in ranges.items():
        refused(name, tensors({"w": tensor("U8", [1], start, end)}, b"1"), f'tensor "w": {message}')
    first = tensor("U8", [4], 0, 4)
    refused(
        "overlap",
        tensors({"a": first, "b": tensor("U8", [4], 3, 7)}, bytes(8)),
        'tensor "b" overlaps the one before it',
    )
    refused("same_bytes", tensors({"a": first, "b": first}, bytes(4)), 'tensor "b" overlaps the one before it')
    refused("gap", tensors({"a": first, "b": tensor("U8", [4], 5, 9)}, bytes(9)), 'tensor "b" follows a hole')
    refused("gap_in_front", tensors({"a": tensor("U8", [4], 1, 5)}, bytes(5)), 'tensor "a" follows a hole')
    refused("bytes_behind", tensors({"a": first}, bytes(7)), "3 bytes follow its last tensor")
    cut = tensors({"a": first}, bytes(3))
    add("bytes_missing", cut, open=f"{{file}} is cut short: {len(cut)} bytes of {len(cut) + 1}", code="format")
    refused("bool_of_2", tensors({"a": tensor("BOOL", [1], 0, 1)}, b"\2"), 'tensor "a": a bool is neither 0 nor 1')
    name = 'state name "a//b" has an empty part or a control character'
    refused("state_without_name", tensors({"a//b": first}, bytes(4)), name)


def programs() -> None:
    """What makes a container a program: its metadata, digest, state, functions."""
    graphless = tensors({}, about='{"digest":"sha256:","format":1,"reader":1}')
    refused("metadata_without_graph", graphless, "it has no tensor caudal.graph")
    entry = {"caudal.graph": tensor("U8", [2], 0, 2)}
    refused("graph_without_metadata", tensors(entry, b"{}"), "it has tensors of caudal and no caudal metadata")
    refused("metadata_no_json", tensors(entry, b"{}", "{"), "JSON: EOF while parsing an object at line 1 column 1")
    refused(
        "metadata_without_digest", tensors(entry, b"{}", '{"format":1,"reader":1}'), "its caudal metadata has no digest"
    )
    refused("reader_a_text", program(GOOD, {"reader": "x"}), "its caudal metadata has a reader that is no number")
    refused("newer", program(GOOD, {"reader": 2, "format": 9}), "{file} needs caudal format 2; this is 1", "newer")
    right, wrong = "sha256:" + hashlib.sha256(GOOD.encode()).hexdigest(), "sha256:" + "0" * 64
    message = f'caudal.graph is damaged: its digest is {right}, the file says "{wrong}"'
    refused("digest_of_another", program(GOOD, {"digest": wrong}), message)
    more = {"caudal.code": ("U8", [1], b"x")}
    refused("tensor_of_ours", program(GOOD, None, **more), 'tensor "caudal.code": caudal has no such tensor')
    more = {"caudal.constant.1": ("U8", [1], b"x")}
    refused("constants_from_1", program(GOOD, None, **more), "its constants are not numbered from 0 on")
    more = {"caudal.constant.01": ("U8", [1], b"x")}
    refused("constant_01", program(GOOD, None, **more), "tensor caudal.constant.01 has no number")
    floats = tensors({"caudal.graph": tensor("F32", [1], 0, 4)}, bytes(4), '{"digest":"","format":1,"reader":1}')
    refused("graph_of_floats", floats, "caudal.graph is not a list of bytes")
    refused("graph_not_utf8", program(b'"\xff"'), "caudal.graph is not UTF-8")
    refused("graph_no_json", program("{]"), "JSON: key must be a string at line 1 column 2")
    refused("graph_deep", program("[" * 1000), "JSON: recursion limit exceeded at line 1 column 128")
    refused(
        "graph_key_twice",
        program('{"state":[],"state":[]}'),
        'JSON: the key "state" stands twice in one object at line 1 column 19',
    )
    known = "known are functions, graphs, metadata, state"
    refused(
        "graph_key_unknown",
        program(text({**json.loads(GOOD), "code": "import os"})),
        f'caudal.graph has the key "code"; {known}',
    )
    exp = graph([("x", VECTOR)], [node("exp", [0], VECTOR)], [1])
    stateful = function(0, [], ["y"], reads=["w"])
    w = {"w": ("F32", [2], bytes(8))}
    state = [["w", "parameter", VECTOR]]
    refused("state_missing", program(document([exp], [stateful], state=state)), 'the state "w" has no tensor')
    refused("state_that_nothing_has", program(document([exp], [stateful])), 'function "f": there is no state "w"')
    another = [["w", "parameter", "float32[3]"]]
    message = 'the state "w" is float32[3], its tensor is float32[2]'
    refused("state_of_another_spec", program(document([exp], [stateful], state=another), None, **w), message)
    three = {"w": ("F32", [3], bytes(12))}
    message = 'function "f": the state "w" is float32[3], its graph says float32[2]'
    refused("state_that_does_not_fit", program(document([exp], [stateful], state=another), None, **three), message)
    weight = [["w", "weight", VECTOR]]
    refused(
        "role_unknown", program(document([exp], [stateful], state=weight), None, **w), 'state "w" has the role "weight"'
    )
    functions: dict[str, tuple[Any, str]] = {
        "function_name": (function(0, ["x"], ["y"], name="f()"), 'function name "f()" is not [A-Za-z_][A-Za-z0-9_]*'),
        "function_graph": (function(7, ["x"], ["y"]), 'function "f": graph 7 is not in the table'),
        "function_inputs": (function(0, [], ["y"]), 'function "f": it has 0 inputs and 0 of state, its graph has 1'),
        "function_outputs": (
            function(0, ["x"], ["y", "z"]),
            'function "f": it has 2 outputs and 0 of state, its graph has 1',
        ),
        "function_key": (
            function(0, ["x"], ["y"], code="import os"),
            'a function has the key "code"; known are doc, graph, inputs, name, outputs, reads, structure, writes',
        ),
        "structure_deep": (
            function(0, ["x"], ["y"], structure=nested(65)),
            'function "f": structure nests deeper than 64',
        ),
    }
    for name, (entry, message) in functions.items():
        refused(name, program(document([exp], [entry])), message)
    both = [function(0, ["x"], ["y"])] * 2
    refused("function_twice", program(document([exp], both)), 'two functions are named "f"')
    twice = graph([("x", VECTOR), ("z", VECTOR)], [], [0])
    refused(
        "input_twice",
        program(document([twice], [function(0, ["x", "x"], ["y"])])),
        'function "f": two inputs are named "x"',
    )


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def graphs() -> None:
    """Ops, attrs, specs, values, regions."""
    ops = {"exp": 1, "frobnicate": 1, "warp": 2, "add": 9, "fused": 1}
    message = "{file}: it uses ops that this caudal does not have: add v9 (this caudal has v1), frobnicate, fused, warp"
    refused("ops_unknown", one_node(node("exp", [0], VECTOR), ops), message, "newer")
    message = '{file}: it uses ops that this caudal does not have: "os.system(\\"ls\\")"'
    refused("op_of_code", one_node(node("exp", [0], VECTOR), {"exp": 1, 'os.system("ls")': 1}), message, "unsupported")
    refused("op_version_missing", one_node(node("exp", [0], VECTOR), {"exp": None}), "ops: exp has no version")
    refused(
        "op_not_in_the_table",
        one_node(node("exp", [0], VECTOR), {}),
        'graph 0: node 0: the op "exp" is not in the table of ops',
    )
    place = "graph 0: node 0: "
    line = " (model.py:12)"
    spec = "float32[2]"
    long = "n" * 65
    nodes: dict[str, tuple[Any, str]] = {
        "node_a_number": (7, "it is 7, not an object"),
        "node_key": (
            {**node("exp", [0], spec), "code": 1},
            'it has the key "code"; known are attrs, inputs, location, op, outputs, regions',
        ),
        "attr_unknown": (node("exp", [0], spec, attrs={"a": 1}), "exp: there is no attr a; it has none"),
        "attr_of_another_type": (node("transpose", [0], spec, attrs={"axes": "x"}), 'axes takes integers, not "x"'),
        "attr_missing": (node("cast", [0], spec), "cast: the attr dtype is required"),
        "dim_name_long": (
            node("reshape", [0], spec, attrs={"shape": [long]}),
            "a dim's name has 65 bytes, more than 64",
        ),
        "dim_terms": (
            node("reshape", [0], spec, attrs={"shape": ["*".join(f"(a{i}+b{i})" for i in range(12))]}),
            "a dim has more than 64 terms",
        ),
        "dim_deep": (
            node("reshape", [0], spec, attrs={"shape": ["(" * 5000]}),
            "a dim's text is nested deeper than 32",
        ),
        "dim_overflow": (
            node("reshape", [0], spec, attrs={"shape": ["9223372036854775807+1"]}),
            "9223372036854775807 + 1 does not fit in 64 bits",
        ),
        "dim_by_zero": (
            node("reshape", [0], spec, attrs={"shape": ["floordiv(n, 0)"]}),
            "floordiv(n, 0) divides by zero",
        ),
        "spec_that_inference_denies": (
            node("exp", [0], "float32[3]"),
            f"exp: %1 is float32[3], inference gives float32[2]{line}",
        ),
        "dtype_that_inference_denies": (
            node("exp", [0], "float64[2]"),
            f"exp: %1 is float64[2], inference gives float32[2]{line}",
        ),
        "outputs_too_many": (node("exp", [0], spec, spec), f"exp: it has 2 outputs, inference gives 1{line}"),
        "cycle": (node("exp", [1], spec), f"exp: %1 is used before it is made{line}"),
        "value_of_later": (node("exp", [7], spec), f"exp: %7 is used before it is made{line}"),
        "value_2_32": (node("exp", [1 << 32], spec), "4294967296 is not a value"),
        "value_negative": (node("exp", [-1], spec), "-1 is not a value"),
        "input_left_out": (node("exp", [None], spec), f"exp: the input x is missing{line}"),
        "inputs_too_many": (node("exp", [0] * 3, spec), f"exp: 3 inputs were given, it takes 1{line}"),
        "region_of_itself": (node("call", [0], spec, regions=[0]), "the region 0 is not an earlier graph"),
        "region_missing": (node("call", [0], spec), f"call: 0 regions were given, it takes 1{line}"),
        "location_missing": ({**node("exp", [0], spec), "location": [1, 1]}, "a list is not a location"),
        "constant_missing": (
            node("constant", [], spec, attrs={"value": {"constant": 5}}),
            "the constant 5 is missing",
        ),
        "constant_inline": (
            node("constant", [], spec, attrs={"value": {"dtype": "float32", "shape": [1 << 40], "data": [1]}}),
            "a float32 tensor of shape [1099511627776] with 1 elements",
        ),
    }
    for name, (entry, message) in nodes.items():
        ops = dict.fromkeys(("exp", "call", "constant", "cast", "reshape", "transpose"), 1)
        refused(name, one_node(entry, ops), place + message)
    dtypes = "bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, bfloat16, float32, float64"
    refused(
        "dtype_of_nothing",
        one_node(node("exp", [0], "float33[2]")),
        f'{place}no dtype is named "float33"; there are {dtypes}',
    )
    refused(
        "operand_left_out",
        one_node(node("concat", [0, None], "float32[4]", attrs={"axis": 0})),
        f"{place}concat: value 1 of values is missing{line}",
    )
    entry = {**graph([("x", VECTOR)], [], [0]), "inputs": [["x", VECTOR, 5]]}
    refused("input_of_later", program(one_graph(entry)), 'graph 0: the input "x" is %5, which is not the next value')
    entry = {**graph([("x", VECTOR)], [], [0]), "inputs": [["x", VECTOR, 0], ["x", VECTOR, 1]]}
    refused("graph_input_twice", program(one_graph(entry)), 'graph 0: two inputs are named "x"')
    entry = graph([("x", VECTOR)], [], [3])
    refused("output_of_nothing", program(one_graph(entry)), "graph 0: the output %3 is not a value of the graph")
    leaf = graph([("x", VECTOR)], [], [0])
    other = graph([("x", "float32[3]")], [node("call", [0], "float32[3]", regions=[0])], [1])
    refused(
        "region_of_another_spec",
        program(document([leaf, other], [])),
        f"graph 1: node 0: call: the region body takes float32[2] as value 0, float32[3] is passed{line}",
    )
    nested_calls = [leaf]
    for index in range(40):
        nested_calls.append(graph([("x", VECTOR)], [node("call", [0], VECTOR, regions=[index])], [1]))
    refused(
        "regions_deep",
        program(document(nested_calls, [])),
        f"graph 33: node 0: call: regions nest deeper than 32{line}",
    )
    doubled = [leaf]
    for index in range(30):
        calls = [node("call", [position], VECTOR, regions=[index]) for position in range(2)]
        doubled.append(graph([("x", VECTOR)], calls, [2]))
    refused(
        "calls_that_double",
        program(document(doubled, [function(30, ["x"], ["y"])])),
        f"graph 22: node 1: call: the graph has more than 4194304 nodes, those of its regions included{line}",
    )


def runs() -> None:
    """What opens and means harm when it is planned or run."""

    def f(entry: dict[str, Any], *regions: dict[str, Any]) -> bytes:
        outputs = [f"y{index}" for index in range(len(entry["outputs"]))]
        return program(document([*regions, entry], [function(len(regions), [], outputs)]))

    limits = {"memory": 64 << 20, "seconds": 0.2}
    one = node("constant", [], SCALAR, attrs={"value": {"dtype": "float32", "shape": [], "data": [1]}})

    def big(size: int, *more: dict[str, Any], outputs: list[int]) -> bytes:
        broadcast = node("broadcast_to", [0], f"float32[{size}]", attrs={"shape": [size]})
        return f(graph([], [one, broadcast, *more], outputs))

    add(
        "output_of_4_gb",
        big(10**9, outputs=[1]),
        call="f: a call needs 4000000000 bytes, the limit is 67108864",
        code="memory",
        **limits,
    )
    sizes = "[4611686018427387904]"
    add(
        "output_of_2_64_bytes",
        big(1 << 62, outputs=[1]),
        call=f"broadcast_to: a float32 tensor of shape {sizes} is larger than memory can be (model.py:12)",
        code="memory",
        **limits,
    )
    ones = node("exp", [1], f"float32[{10**9}]")
    negative = node("transpose", [2], f"float32[{10**9}]")
    add(
        "folded_to_4_gb",
        big(10**9, ones, negative, outputs=[3]),
        call="f: a call needs 8000000000 bytes, the limit is 67108864",
        code="memory",
        **limits,
    )
    true = node("constant", [], "bool[]", attrs={"value": {"dtype": "bool", "shape": [], "data": [1]}})
    forever = graph([("x", SCALAR)], [true], [1])
    body = graph([("x", SCALAR)], [node("neg", [0], SCALAR)], [1])
    loop = node("while_loop", [0], SCALAR, attrs={"carried": 1}, regions=[0, 1])
    late = "the call took longer than its limit in seconds"
    add("loop_without_end", f(graph([], [one, loop], [1]), forever, body), call=f"f: {late}", code="deadline", **limits)
    scan = node("scan", [0], SCALAR, attrs={"carried": 1, "length": "9223372036854775807"}, regions=[0])
    add("scan_of_2_63_steps", f(graph([], [one, scan], [1]), body), call=f"f: {late}", code="deadline", **limits)
    stacked = graph([("x", SCALAR)], [], [0, 0])
    scan = node("scan", [0], SCALAR, f"float32[{1 << 40}]", attrs={"carried": 1, "length": 1 << 40}, regions=[0])
    add(
        "stack_of_4_tb",
        f(graph([], [one, scan], [2]), stacked),
        call="f: a call needs 4398046511296 bytes, the limit is 67108864",
        code="memory",
        **limits,
    )
    doubled = [graph([("x", SCALAR)], [node("neg", [0], SCALAR)], [1])]
    for index in range(20):
        calls = [node("call", [position], SCALAR, regions=[index]) for position in range(2)]
        doubled.append(graph([("x", SCALAR)], calls, [2]))
    call = node("call", [0], SCALAR, regions=[20])
    add("a_million_calls", f(graph([], [one, call], [1]), *doubled), call=f"f: {late}", code="deadline", **limits)


if __name__ == "__main__":
    for path in (FOLDER / "files").iterdir():
        path.unlink()
    containers()
    programs()
    graphs()
    runs()
    (FOLDER / "attacks.json").write_text(json.dumps(ATTACKS, indent=1, sort_keys=True) + "\n")
    print(f"{len(ATTACKS)} attacks, {sum(path.stat().st_size for path in (FOLDER / 'files').iterdir())} bytes")
