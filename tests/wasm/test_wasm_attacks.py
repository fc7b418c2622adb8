"""Files from strangers in the WASM module: the attack corpus, and changed good files. An error each, never a trap."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from instance import Compiled, Failure, Instance

TESTS = Path(__file__).resolve().parent.parent
ATTACKS: dict[str, dict[str, Any]] = json.loads((TESTS / "attacks" / "attacks.json").read_text())
GOOD = TESTS / "fixtures" / "0.1.0.caudal"
MUTATED = 400
# Sizes beyond 32 bits are refused earlier than where addresses have 64: the same code, and this in the message.
LARGER = dict.fromkeys(
    ["bytes_2_66", "folded_to_4_gb", "output_of_2_64_bytes", "output_of_4_gb", "stack_of_4_tb"],
    "is larger than memory can be",
) | {"constant_inline": "value takes a tensor"}
# What the JSON of the graphs is changed to.
NUMBERS = [0, 1, 2, 3, -1, 64, 255, 65536, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63)]
TEXTS = ["n", "0", "8", "2*n+1", "floordiv(n, 2)", "4294967296", "float32[n]", "int64[9223372036854775807]", "add"]


def opened(instance: Instance, file: bytes, limits: int) -> None:
    """Opens a file and calls each function that takes nothing."""
    program = instance.program(file, limits)
    session = instance.session(program, None, limits)
    try:
        for entry in instance.json("cdl_program_info", program, 1)["functions"]:
            function = instance.function(session, entry if isinstance(entry, str) else entry["name"])
            if not instance.names(function, "INPUT"):
                instance.free(instance.run(function, [], limits))
    finally:
        instance.call("cdl_session_free", session)
        instance.call("cdl_program_free", program)


def test_every_attack_is_the_error_that_is_written(compiled: Compiled) -> None:
    instance = compiled.instance()
    found = {}
    for name, attack in ATTACKS.items():
        limits = instance.limits(attack.get("memory", 64 << 20), attack.get("seconds", 0.0))
        with pytest.raises(Failure) as caught:
            opened(instance, (TESTS / "attacks" / "files" / f"{name}.caudal").read_bytes(), limits)
        instance.call("cdl_limits_free", limits)
        message = str(caught.value)
        if "call" in attack and caught.value.location:
            message = f"{message.removesuffix(f' ({caught.value.location})')} ({caught.value.location})"
        found[name] = caught.value.code, message
    wanted = {name: attack.get("open", attack.get("call")) for name, attack in ATTACKS.items()}
    expected = {name: (ATTACKS[name]["code"], text.replace("{file}", "the data")) for name, text in wanted.items()}
    for name, part in LARGER.items():
        code, message = found.pop(name)
        assert code == expected.pop(name)[0] and part in message, name
    assert found == expected


def values(json_value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values within one."""
    keys: Any = ()
    if isinstance(json_value, dict):
        keys = json_value
    elif isinstance(json_value, list):
        keys = range(len(json_value))
    return [path, *(found for key in keys for found in values(json_value[key], (*path, key)))]


def changed_json(graph: Any, draw: random.Random) -> None:
    """Changes some values: to others, to those of other places, or away."""
    for _ in range(draw.randint(1, 3)):
        paths = values(graph)[1:]
        target, donor = draw.choice(paths), draw.choice(paths)
        holder, value = graph, graph
        for key in target[:-1]:
            holder = holder[key]
        for key in donor:
            value = value[key]
        old = holder[target[-1]]
        if draw.random() < 0.2:
            del holder[target[-1]]
        elif draw.random() < 0.2:
            holder[target[-1]] = json.loads(json.dumps(value))
        elif isinstance(old, str):
            holder[target[-1]] = draw.choice([old + old, *TEXTS])
        else:
            holder[target[-1]] = draw.choice(NUMBERS)


def mutated(file: bytes, draw: random.Random) -> bytes:
    """The file with some bytes changed, or with changed graphs and a digest that fits them."""
    if draw.random() < 0.3:
        data = bytearray(file)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(min(len(data), draw.choice([400, len(data)])))
            data[at] = draw.randrange(256)
        return bytes(data[: draw.choice([len(data), len(data), draw.randrange(len(data))])])
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    first, last = header["caudal.graph"]["data_offsets"]
    graph = json.loads(file[start + first : start + last])
    changed_json(graph, draw)
    text = json.dumps(graph, separators=(",", ":"), sort_keys=True).encode()
    grown = len(text) - (last - first)
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [at + grown * (at >= last) for at in entry["data_offsets"]]
    header["caudal.graph"] |= {"shape": [len(text)], "data_offsets": [first, first + len(text)]}
    about = json.loads(header["__metadata__"]["caudal"])
    about["digest"] = f"sha256:{hashlib.sha256(text).hexdigest()}"
    header["__metadata__"]["caudal"] = json.dumps(about)
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return len(packed).to_bytes(8, "little") + packed + file[start : start + first] + text + file[start + last :]


def test_mutated_files_never_trap(compiled: Compiled) -> None:
    seeds = [GOOD.read_bytes(), (TESTS / "errors" / "errors.caudal").read_bytes()]
    draw = random.Random(5)
    instance = compiled.instance()
    limits = instance.limits(64 << 20, 0.05)
    codes: dict[str, int] = {}
    for number in range(MUTATED):
        try:
            opened(instance, mutated(seeds[number % len(seeds)], draw), limits)
            code = "none"
        except Failure as failure:
            code = failure.code
        codes[code] = codes.get(code, 0) + 1
    # Some open and run; most do not; nothing is a mistake in caudal.
    assert codes["none"] > MUTATED // 50 and codes["format"] > MUTATED // 4
    assert "internal" not in codes, codes
