"""Data sets to try things on.

Nothing is fetched before it is asked for, and every file is checked against its known digest before it is used.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FASHION_MNIST_LABELS", "fashion_mnist"]

Images: TypeAlias = "npt.NDArray[np.uint8]"
Labels: TypeAlias = "npt.NDArray[np.int32]"

FASHION_MNIST_LABELS: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The ten garments of Fashion-MNIST: the name of each label."""

_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_TIMEOUT_SECONDS = 60.0


class _File(NamedTuple):
    """A gzip file holding one array in the IDX format."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    """Of the content without gzip: distributions compress it again, and those bytes differ."""


_TRAIN_IMAGES = _File(
    "train-images-idx3-ubyte.gz",
    (60000, 28, 28),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
)
_TRAIN_LABELS = _File(
    "train-labels-idx1-ubyte.gz",
    (60000,),
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
)
_TEST_IMAGES = _File(
    "t10k-images-idx3-ubyte.gz",
    (10000, 28, 28),
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
)
_TEST_LABELS = _File(
    "t10k-labels-idx1-ubyte.gz",
    (10000,),
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_FILES = (_TRAIN_IMAGES, _TRAIN_LABELS, _TEST_IMAGES, _TEST_LABELS)


def fashion_mnist() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Fashion-MNIST: 70,000 grey pictures of ten kinds of garments, 60,000 to train on and 10,000 to test with.

    The four files are looked for in this order, and the first folder that has them all is used:

    1. the folder that the environment variable ``CAUDAL_DATA`` names, or ``fashion-mnist`` in it;
    2. the cache, ``$XDG_CACHE_HOME/caudal/fashion-mnist`` (``~/.cache/caudal/fashion-mnist``);
    3. ``/usr/share/datasets/fashion-mnist``, from Debian's package ``dataset-fashion-mnist``;
    4. a download of 31 MB from the project's repository, kept in the cache.

    Returns:
        ``((train_images, train_labels), (test_images, test_labels))``. Images are ``uint8[n, 28, 28]``, 0 (background)
        to 255; labels are ``int32[n]``, 0 to 9, named by ``FASHION_MNIST_LABELS``. The arrays are the caller's own.

    Raises:
        FileNotFoundError: the files are in none of the folders and cannot be downloaded; the message lists each
            place that was tried.
        ValueError: a file is damaged: its content is not the one that was published.

    Source: Han Xiao, Kashif Rasul, Roland Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
    Learning Algorithms", 2017, https://github.com/zalandoresearch/fashion-mnist.
    Licence: MIT, copyright 2017 Zalando SE.

    Example:
        >>> (images, labels), _ = fashion_mnist()  # doctest: +SKIP
        >>> images.shape, FASHION_MNIST_LABELS[labels[0]]  # doctest: +SKIP
        ((60000, 28, 28), 'Ankle boot')
    """
    folder = _find_folder()
    train_images, train_labels, test_images, test_labels = (_read(folder / file.name, file) for file in _FILES)
    return (
        (train_images, train_labels.astype(np.int32)),
        (test_images, test_labels.astype(np.int32)),
    )


def _find_folder() -> Path:
    """The first folder that holds all four files, after a download if need be."""
    tried = []
    for place, folder in _folders():
        missing = [file.name for file in _FILES if not (folder / file.name).is_file()]
        if not missing:
            return folder
        tried.append(f"{place}: {folder} has no {', '.join(missing)}" if folder.is_dir() else f"{place}: no {folder}")
    cache = _cache()
    try:
        for file in _FILES:
            _download(file, cache)
    except OSError as error:
        tried.append(f"download: {_URL}: {error}")
        raise FileNotFoundError(
            "Fashion-MNIST was not found:\n  "
            + "\n  ".join(tried)
            + "\nSet CAUDAL_DATA to a folder with its four .gz files, install Debian's package dataset-fashion-mnist,"
            " or connect to the network."
        ) from error
    return cache


def _folders() -> Iterator[tuple[str, Path]]:
    data = os.environ.get("CAUDAL_DATA")
    if data:
        yield "CAUDAL_DATA", Path(data)
        yield "CAUDAL_DATA", Path(data) / "fashion-mnist"
    yield "cache", _cache()
    yield "Debian's dataset-fashion-mnist", _DEBIAN


def _cache() -> Path:
    # The XDG specification says to ignore a relative path.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "caudal" / "fashion-mnist"


def _download(file: _File, folder: Path) -> None:
    """Put the file into the folder; it appears there whole and checked, or not at all."""
    path = folder / file.name
    if path.is_file():
        return
    with urllib.request.urlopen(_URL + file.name, timeout=_TIMEOUT_SECONDS) as response:
        content = response.read()
    _parse(content, file, _URL + file.name)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=file.name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path, file: _File) -> Images:
    return _parse(path.read_bytes(), file, str(path))


def _parse(content: bytes, file: _File, source: str) -> Images:
    """The array in a gzip file in the IDX format, as ``uint8`` of the shape that the file is known to have.

    IDX: two zero bytes, the element type (8: unsigned byte), the rank, each size as a big-endian 32-bit integer, then
    the elements in row-major order.
    """
    header = bytes((0, 0, 8, len(file.shape))) + np.array(file.shape, ">u4").tobytes()
    length = len(header) + int(np.prod(file.shape))
    try:
        # One byte more than is right is enough to know that a file is wrong, however much it would unpack to.
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        data = decoder.decompress(content, length + 1)
    except zlib.error as error:
        raise _damaged(source, f"it is not a gzip file ({error})") from error
    if len(data) != length or not data.startswith(header):
        raise _damaged(source, f"it does not hold bytes of shape {list(file.shape)} in the IDX format")
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise _damaged(source, f"the SHA-256 of its content is {digest} and should be {file.sha256}")
    array: Images = np.frombuffer(data, np.uint8, offset=len(header)).reshape(file.shape).copy()
    return array


def _damaged(source: str, reason: str) -> ValueError:
    return ValueError(f"{source} is damaged: {reason}. Remove it to have it found elsewhere or downloaded.")
