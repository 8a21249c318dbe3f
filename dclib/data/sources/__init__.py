"""Where data sets come from: one module a source, which the configuration calls by its name.

No list of sources stands anywhere, so that a new one is a new module here. It has

- `look(options) -> Facts`, what a plan has to know, without PyTorch;
- `read(options, data_dir) -> Arrays`, the images and labels;
- `counts(options) -> Counts`, how many images of which classes there are, if that is known before
  they are read: then a plan knows what is left of a class of which images are held out;
- if it reads a user's own files, at `options.path`, `content(options)`: which files `read` takes,
  each with its name relative to the path;
- if it reads several data sets, `NAMES`, what they are called;
- if there are options that it alone knows, `OPTIONS`, which they are.
"""

import contextlib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dclib.data import choice
from dclib.data.checks import (
    TENSOR_NAMES,
    VALIDATION_NAMES,
    Arrays,
    Facts,
    check,
    check_statistics,
)
from dclib.data.sources.settings import Options
from dclib.errors import InputError, did_you_mean, one_line

if TYPE_CHECKING:
    from dclib.data.datasets import ImageDataset

_OPTIONS = TypeAdapter(Options)


def names() -> list[str]:
    """Return all sources, those first that need no path."""
    return list(_modules())


def module_name(source: str) -> str:
    """Return the dotted name of the module that reads `source`.

    Raises:
        InputError: there is none of this name.
    """
    return _module(source).__name__


def without_path() -> dict[str, Facts]:
    """Return the sources that need no path, and what is known of each."""
    return {
        name: look({"name": name}) for name, module in _modules().items() if not _is_own(module)
    }


def look(options: Mapping[str, Any]) -> Facts:
    """Return the facts of a data set, of a user's own from its file names, headers and labels.

    Args:
        options: the fields of `Options`; of name and source, one is enough for a public one.

    Raises:
        InputError: as far as that can be seen, the data set cannot be read or trained on.
    """
    chosen, module = _chosen(options)
    with _readable(chosen):
        facts: Facts = module.look(chosen)
        if choice.asked(chosen) and hasattr(module, "counts"):
            counts = module.counts(chosen)
            if counts is not None:
                smallest = choice.smallest_class(chosen, counts)
                facts = facts._replace(smallest_class=smallest)
    check_statistics(str(chosen), facts.channels, chosen.mean, chosen.std)
    return facts if chosen.image_size is None else facts._replace(image_size=chosen.image_size)


def content(options: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """Return the files that reading a user's own data set takes, by name relative to its path.

    Two data sets that have the same options but for the path, the same names here and the same
    bytes in each file are the same. A public data set has none.

    Raises:
        InputError: as `look` does.
    """
    chosen, module = _chosen(options)
    if not _is_own(module):
        return []
    with _readable(chosen):
        return sorted(module.content(chosen))


def read(
    options: Mapping[str, Any], data_dir: str | Path | None = None, processes: int = 1
) -> "ImageDataset":
    """Read a data set from its original files.

    Args:
        options: as `look` takes them. Of mean and std, what is not given is what has been published
            of the data set, or is computed from the training images.
        data_dir: where public data sets lie, in torchvision's layout. If None, the environment
            variable DCLIB_DATA_DIR, and without it the folder `data`.
        processes: how many read files of images at the same time.

    Raises:
        InputError: unknown source, a missing or corrupt file, or images that do not fit together.
    """
    import torch

    from dclib.data import datasets, preparation

    chosen, arrays = _arrays(options, data_dir)
    tensors = {}
    for name in (*TENSOR_NAMES, *VALIDATION_NAMES):
        array = getattr(arrays, name)
        if array is None:
            continue
        if name.endswith("labels"):
            tensors[name] = torch.from_numpy(array.astype(np.int64))
        else:
            tensors[name] = preparation.whole(chosen, array, processes)
    seen = datasets.histogram(tensors["train_images"])
    mean, std = preparation.statistics(chosen, arrays, seen)
    return datasets.ImageDataset(
        chosen.name, **tensors, mean=mean, std=std, class_names=tuple(arrays.class_names)
    )


def prepare(
    options: Mapping[str, Any],
    path: str | Path,
    data_dir: str | Path | None = None,
    processes: int = 1,
) -> None:
    """Write what `read` returns to a file, which `ImageDataset.load` maps into memory.

    A user's pictures are written as they are read, so that it takes little memory however many
    there are.

    Raises:
        InputError: as `read` does, or `path` cannot be written.
    """
    from dclib.data import preparation

    chosen, arrays = _arrays(options, data_dir)
    preparation.write(path, chosen, arrays, processes)


def _arrays(options: Mapping[str, Any], data_dir: str | Path | None) -> tuple[Options, Arrays]:
    """The images and labels of a data set that are used, whose shapes fit together."""
    chosen, module = _chosen(options)
    with _readable(chosen):
        arrays: Arrays = module.read(chosen, data_dir)
    check(str(chosen), arrays)
    arrays = choice.chosen(chosen, arrays)
    channels = check(str(chosen), arrays).channels
    check_statistics(str(chosen), channels, chosen.mean, chosen.std)
    return chosen, arrays


def _modules() -> dict[str, ModuleType]:
    """The sources and the modules that read them."""
    found = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if module.name != "settings"
    ]
    found.sort(key=lambda module: (_is_own(module), not hasattr(module, "NAMES")))
    return {
        name: module
        for module in found
        for name in getattr(module, "NAMES", [module.__name__.split(".")[-1]])
    }


def _is_own(module: ModuleType) -> bool:
    return hasattr(module, "content")


def _module(source: str) -> ModuleType:
    modules = _modules()
    if source not in modules:
        raise InputError(
            f"data set source '{source}' is not one of {', '.join(modules)}"
            f"{did_you_mean(source, modules)}"
        )
    return modules[source]


def _chosen(options: Mapping[str, Any]) -> tuple[Options, ModuleType]:
    given = {"name": options.get("source"), **options}
    try:
        chosen = _OPTIONS.validate_python(given)
    except ValidationError as error:
        fault = error.errors()[0]
        key, known = str(fault["loc"][0]), _OPTIONS.json_schema()["properties"]
        what = f"data set '{given['name']}'"
        if key not in known:
            raise InputError(
                f"{what}: '{key}' is unknown{did_you_mean(key, known)}; allowed: {', '.join(known)}"
            ) from error
        why = fault["msg"].replace("greater than or equal to", "at least")
        allowed = " ".join(known[key]["description"].split())
        raise InputError(
            f"{what}: {key} is {given.get(key)!r} ({why.replace('greater than', 'above')}); "
            f"allowed: {allowed}"
        ) from error
    module = _module(chosen.source)
    if _is_own(module) and chosen.path is None:
        raise InputError(f"{chosen}: source '{chosen.source}' needs a path")
    if not _is_own(module) and chosen.path is not None:
        own = [name for name, each in _modules().items() if _is_own(each)]
        raise InputError(f"{chosen}: 'path' goes with source {' or '.join(own)}")
    for name, each in _modules().items():
        for key in getattr(each, "OPTIONS", ()) if each is not module else ():
            if getattr(chosen, key) is not None:
                raise InputError(f"{chosen}: '{key}' goes with source {name}")
    if chosen.fit != "stretch" and chosen.image_size is None:
        raise InputError(f"{chosen}: fit is '{chosen.fit}', which needs an image_size to fit to")
    return chosen, module


@contextlib.contextmanager
def _readable(chosen: Options) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = "its files" if chosen.path is None else chosen.path
        raise InputError(f"{chosen}: {place} cannot be read ({one_line(error)})") from error
