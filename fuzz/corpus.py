"""Writes seeds for the targets into fuzz/corpus: the attack corpus, fixtures, and the graphs that stand in tests."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def put(target: str, seeds: list[bytes]) -> None:
    """Writes the seeds of a target."""
    folder = ROOT / "fuzz" / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds):
        (folder / f"seed_{index:03}").write_bytes(seed)
    print(f"{target}: {len(seeds)} seeds")


def graph_of(data: bytes) -> bytes:
    """The text of a file's graphs; empty where it has none."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        start, end = json.loads(data[8 : 8 + length])["caudal.graph"]["data_offsets"]
    except (struct.error, ValueError, KeyError, TypeError):
        return b""
    text = data[8 + length + start : 8 + length + end]
    return text if text.startswith(b"{") else b""


def main() -> None:
    """Writes the seeds of all targets."""
    files = [*(ROOT / "tests" / "attacks" / "files").iterdir(), *(ROOT / "tests" / "fixtures").glob("*.caudal")]
    data = [path.read_bytes() for path in sorted(files)]
    put("loader", data + [text for text in map(graph_of, data) if text])
    sources = [path.read_text() for path in sorted((ROOT / "core").rglob("*.rs"))]
    graphs = [graph for source in sources for graph in re.findall(r'r#"(graph\(.*?)"#', source, re.DOTALL)]
    put("text", [graph.encode() for graph in graphs])
    objects = [found for source in sources for found in re.findall(r'attrs: r#"(\{.*?\})"#', source)]
    attrs = [bytes([index % 256]) + found.encode() for index, found in enumerate(dict.fromkeys(objects))]
    dims = [b"\3floordiv(2*n+1, 3)-mod(m, 4)", b"\1float32[n, max(m, 2), n*m]", b"\2min(n, m, 7)*2-1"]
    put("attrs", attrs + dims)
    put("graphs", [bytes((7 * index * at + 3 * at) % 256 for at in range(48)) for index in range(64)])


if __name__ == "__main__":
    main()
