"""Prints the largest difference from the expected numbers, in units in the last place, for each op and language.

Every runner of the vectors leaves build/vectors/LANGUAGE.json: a number for each op. Languages that agree on all ops
are one column. native.json is something else: digests of the native library's answers, which the runners compare with.

    python tests/vectors/report.py [LANGUAGE ...]     fails where a language that is named has left nothing
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "vectors"


def columns(found: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """A title and the numbers of each column."""
    groups: list[tuple[list[str], dict[str, float]]] = []
    for language, numbers in found.items():
        for names, others in groups:
            if others == numbers:
                names.append(language)
                break
        else:
            groups.append(([language], numbers))
    return [(", ".join(names), numbers) for names, numbers in groups]


def main(wanted: list[str]) -> int:
    """Prints the table; 1 if a language is missing."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json")) if path.stem != "native"}
    found = {language: numbers for language, numbers in found.items() if not wanted or language in wanted}
    missing = [language for language in wanted if language not in found]
    table = columns(found)
    for number, (title, _) in enumerate(table, 1):
        sys.stdout.write(f"[{number}] {title}\n")
    heads = "".join(f"{f'[{number}]':>8}" for number in range(1, len(table) + 1))
    sys.stdout.write(f"largest difference in ulp:\n{'op':24}{heads}\n")
    for op in sorted({op for _, numbers in table for op in numbers}):
        cells = (numbers.get(op) for _, numbers in table)
        sys.stdout.write(f"{op:24}" + "".join("       -" if cell is None else f"{cell:8.4g}" for cell in cells) + "\n")
    if missing:
        sys.stderr.write(f"error: no numbers of {', '.join(missing)} in {FOLDER}\n")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
