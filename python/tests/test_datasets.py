"""caudal.datasets: where the files are looked for, what is checked, what the errors say."""

from __future__ import annotations

import gzip
import hashlib
import io
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caudal import datasets

SHAPES = {"images": (3, 28, 28), "labels": (3,)}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files in place of the real ones: name to gzip content."""
    generator = np.random.default_rng(0)
    files, contents = [], {}
    for file in datasets._FILES:
        shape = SHAPES["images" if "images" in file.name else "labels"]
        content = idx(generator.integers(0, 10, shape, "uint8"))
        files.append(datasets._File(file.name, shape, hashlib.sha256(content).hexdigest()))
        contents[file.name] = gzip.compress(content)
    monkeypatch.setattr(datasets, "_FILES", tuple(files))
    return contents


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No data on this machine, and no network; returns a folder to work in."""

    def refuse(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.delenv("CAUDAL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path


def write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def test_real_pictures_have_the_published_shapes_and_classes() -> None:
    try:
        (train_images, train_labels), (test_images, test_labels) = datasets.fashion_mnist()
    except FileNotFoundError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {error}")
    assert (train_images.shape, train_images.dtype) == ((60000, 28, 28), np.uint8)
    assert (test_images.shape, test_images.dtype) == ((10000, 28, 28), np.uint8)
    assert (train_labels.dtype, test_labels.dtype) == (np.int32, np.int32)
    assert np.bincount(train_labels).tolist() == [6000] * 10
    assert np.bincount(test_labels).tolist() == [1000] * 10
    assert datasets.FASHION_MNIST_LABELS[train_labels[0]] == "Ankle boot"
    assert train_images.flags.writeable and train_images.flags.owndata


@pytest.mark.parametrize("place", ["data", "data/fashion-mnist", "cache/caudal/fashion-mnist", "debian"])
def test_files_are_found_in_each_place(
    place: str, contents: dict[str, bytes], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.startswith("data"):
        monkeypatch.setenv("CAUDAL_DATA", str(nowhere / "data"))
    write(nowhere / place, contents)
    (images, labels), _ = datasets.fashion_mnist()
    assert images.shape == SHAPES["images"] and labels.shape == SHAPES["labels"]


def test_an_earlier_place_wins_and_an_incomplete_one_is_passed_over(
    contents: dict[str, bytes], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAUDAL_DATA", str(nowhere / "data"))
    write(nowhere / "debian", contents)
    write(nowhere / "data", dict(list(contents.items())[:2]))
    assert datasets._find_folder() == nowhere / "debian"
    write(nowhere / "data", contents)
    assert datasets._find_folder() == nowhere / "data"


def test_a_download_is_kept_in_the_cache(
    contents: dict[str, bytes], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def serve(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(contents[url.rsplit("/", 1)[1]])

    monkeypatch.setattr("urllib.request.urlopen", serve)
    first, second = datasets.fashion_mnist(), datasets.fashion_mnist()
    assert asked == [datasets._URL + name for name in contents]
    assert np.array_equal(first[0][0], second[0][0])
    assert sorted(path.name for path in (nowhere / "cache/caudal/fashion-mnist").iterdir()) == sorted(contents)


def test_a_damaged_download_is_refused_and_not_kept(
    contents: dict[str, bytes], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"<html>"))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz is damaged: it is not a gzip file"):
        datasets.fashion_mnist()
    assert not list(nowhere.rglob("*.gz*"))


def test_the_error_lists_every_place_that_was_tried(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUDAL_DATA", str(nowhere / "data"))
    with pytest.raises(FileNotFoundError) as caught:
        datasets.fashion_mnist()
    message = str(caught.value)
    for part in (
        f"CAUDAL_DATA: no {nowhere / 'data'}",
        f"cache: no {nowhere / 'cache'}",
        f"Debian's dataset-fashion-mnist: no {nowhere / 'debian'}",
        "no network in this test",
        "Set CAUDAL_DATA to a folder",
    ):
        assert part in message


def wrong(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content, "it is not a gzip file"),
        (lambda content: b"", "it does not hold bytes of shape [3, 28, 28]"),
        (lambda content: gzip.compress(content)[:-40], "it does not hold bytes of shape [3, 28, 28]"),
        (lambda content: gzip.compress(content[:-1]), "it does not hold bytes of shape [3, 28, 28]"),
        (lambda content: gzip.compress(content + b"\0"), "it does not hold bytes of shape [3, 28, 28]"),
        (lambda content: gzip.compress(b"\0\0\x0d\x03" + content[4:]), "it does not hold bytes of shape [3, 28, 28]"),
        (lambda content: gzip.compress(wrong(content)), "the SHA-256 of its content is"),
    ],
    ids=["not gzip", "empty", "cut gzip", "short", "long", "floats", "one bit"],
)
def test_a_damaged_file_is_named_with_the_reason(
    damage: Any, reason: str, contents: dict[str, bytes], nowhere: Path
) -> None:
    name = "train-images-idx3-ubyte.gz"
    write(nowhere / "debian", contents | {name: damage(gzip.decompress(contents[name]))})
    with pytest.raises(ValueError) as caught:
        datasets.fashion_mnist()
    assert f"{nowhere / 'debian' / name} is damaged: {reason}" in str(caught.value)
