"""The attack corpus through the Python binding; `write.py` says what each file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import caudal as cd

FOLDER = Path(__file__).resolve().parent
ATTACKS: dict[str, dict[str, Any]] = json.loads((FOLDER / "attacks.json").read_text())


def limits_of(attack: dict[str, Any]) -> cd.Limits:
    return cd.Limits(memory=attack.get("memory", 64 << 20), seconds=attack.get("seconds", 0.0))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack(name: str) -> None:
    attack = ATTACKS[name]
    path = FOLDER / "files" / f"{name}.caudal"
    with pytest.raises(cd.Error) as caught:
        with cd.load(path, limits=limits_of(attack)) as session:
            assert "open" not in attack, "it opens"
            session.f()
    expected = attack.get("open", attack.get("call"))
    assert str(caught.value) == expected.replace("{file}", str(path))
    assert caught.value.code == attack["code"]


@pytest.mark.parametrize("name", sorted(name for name, attack in ATTACKS.items() if "open" in attack))
def test_attack_in_bytes(name: str) -> None:
    with pytest.raises(cd.Error) as caught:
        cd.load((FOLDER / "files" / f"{name}.caudal").read_bytes(), limits=limits_of(ATTACKS[name]))
    assert str(caught.value) == ATTACKS[name]["open"].replace("{file}", "the data")


def test_opening_ends_at_its_limits() -> None:
    good = FOLDER.parent / "fixtures" / "0.1.0.caudal"
    with pytest.raises(cd.DeadlineError) as late:
        cd.load(good, limits=cd.Limits(seconds=1e-9))
    assert str(late.value) == f"{good}: the call took longer than its limit in seconds"
    with pytest.raises(cd.OutOfMemoryError) as short:
        cd.load(good, limits=cd.Limits(memory=100))
    assert str(short.value) == (
        f"{good}: {good.stat().st_size} bytes more than the 0 in use pass the limit of 100 bytes"
    )
    limits = cd.Limits(memory=1 << 30)
    limits.cancel()
    with pytest.raises(cd.CancelledError):
        cd.load(good, limits=limits)
