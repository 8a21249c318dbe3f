"""What `import dclib` gives: from images to a set and what it is worth, a line each.

Settings are those of a configuration, under the same names and with the same defaults. The random
numbers are those of the cell of a grid with the same names, so that both make the same set.
"""

import dataclasses
import math
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch.utils.data import TensorDataset

from dclib import arguments, codebase, conditions, devices, methods, provenance, runner
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.applications.evaluation.evaluate import Evaluation, Results
from dclib.data import sources
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.data.whitening import Whitening
from dclib.errors import InputError, did_you_mean, one_line
from dclib.methods.imported import formats
from dclib.methods.imported import method as imported
from dclib.methods.imported import settings as of_others
from dclib.networks import names as networks
from dclib.seeding import Streams
from dclib.teachers.reference import settings as reference
from dclib.teachers.reference.teacher import Reference, Training

__all__ = [
    "ImageDataset",
    "InputError",
    "Results",
    "SyntheticSet",
    "condense",
    "evaluate",
    "load",
    "load_set",
    "read",
]

Kind = TypeVar("Kind")


def read(name: str, data_dir: str | Path | None = None, **options: Any) -> ImageDataset:
    """Return a data set: `read("digits")`, or `read("mine", source="folder", path="~/mine")`.

    Args:
        name: of a public one, or what one of your own shall be called.
        data_dir: where public ones lie or are downloaded to; see `dclib.data.sources.read`.
        options: as an entry of `datasets` in a configuration has them: source, path, image_size,
            mean, std.

    Raises:
        InputError: an unknown name or option, a missing or corrupt file, or images that do not fit
            together.
    """
    arguments.text("name", name, "that of a data set, as 'digits'")
    return sources.read({"name": name, **options}, data_dir)


def condense(
    data: ImageDataset,
    method: str,
    ipc: int,
    network: str = "ConvNet",
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    settings: Any = None,
    **changes: Any,
) -> SyntheticSet:
    """Return a set of `ipc` images per class, learnt or chosen by a method: `dc`, `idc-i` ...

    Args:
        ipc: from 1.
        network: the name of that which it is condensed with, or that chooses.
        seed: from 0, of the random numbers; each gives another set, the same one the same.
        device: auto, cpu, cuda or cuda:N, or a torch.device that is called so.
        checkpoint: a file from which an interrupted call goes on when it is made again. Delete it
            once the set is safe; without one, an interrupted call starts anew.
        settings: an object of the method's settings class; None for its defaults. What differs for
            some data sets goes by the name of `data`, what does for some networks by `network`.
        changes: settings by name that differ from these, as `iterations=50`.

    Raises:
        InputError: an unknown name or setting, or one that does not fit the data, or data that
            cannot be trained on.
    """
    _check_data(data)
    arguments.text("method", method, f"one of {', '.join(methods.names())}")
    ipc, seed = arguments.whole("ipc", ipc, 1), arguments.whole("seed", seed, 0)
    checkpoint = _writable(checkpoint)
    _parsed(network)
    name, what = _known(method), f"method '{method}'"
    facts = methods.face(name)
    if facts.kind in ("whole", "imported"):
        other = "evaluate(None, data)" if facts.kind == "whole" else "load_set(path, data)"
        raise InputError(f"{what} condenses nothing; call dclib.{other}")
    if settings is None:
        values: dict[str, Any] = {}
        point = {"dataset": data.name, "method": method, "network": network, "ipc": str(ipc)}
        for _, told in conditions.applying(facts.where, point):
            values |= told
        changes = values | changes
    chosen = _settings(facts.settings, what, settings, changes)
    where, body = devices.choose(device), methods.body(name)
    random = Streams(data.name, method, network, ipc, seed)
    if facts.kind == "learnt":
        work = body.create(network, chosen, data, ipc, where)
        made: SyntheticSet = _run(work, random, checkpoint, what)
    else:
        data.require(ipc)
        teachers = {"reference": _reference(network, data, where)} if facts.teachers else {}
        made = body.select(data, ipc, random, teachers, where)
    return made.with_metadata(
        dataset=data.name,
        method=method,
        network=network,
        ipc=ipc,
        seed=seed,
        settings=dataclasses.asdict(chosen),
        versions=provenance.versions(),
    )


def evaluate(
    made: SyntheticSet | None,
    data: ImageDataset,
    network: str | None = None,
    protocol: str = protocols.DEFAULT,
    *,
    seed: int | None = None,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    settings: evaluation.Settings | None = None,
    **changes: Any,
) -> Results:
    """Return what networks are worth that are trained from scratch on a set, and tested on `data`.

    Args:
        made: None for the whole training split.
        network: the name of that which is trained; None for the one that the set was condensed
            with, or ConvNet; of VGG11BN, ResNet18BN and ResNet18BN_AP the twin with instance norm,
            as in a grid.
        protocol: how networks are trained, or `own` for that of the method's authors. What differs
            for some data sets (as MNIST's augmentation) goes by the name of `data`.
        seed: from 0, of the random numbers; None for the set's, or 0.
        device: auto, cpu, cuda or cuda:N, or a torch.device that is called so.
        checkpoint: as for `condense`.
        settings: all settings, instead of the protocol's.
        changes: settings by name that differ from these, as `models=5`.

    Raises:
        InputError: an unknown name or setting, a set or data that cannot be trained on, or set,
            network and data do not fit together.
    """
    if made is not None:
        arguments.instance("made", made, SyntheticSet, f"{_A_SET}, or None for all training images")
    _check_data(data)
    checkpoint = _writable(checkpoint)
    told = {"method": "whole", "ipc": "all"}
    if made is not None:
        made.check("the set")
        told = dict(made.metadata)
    own = str(told.get("network", "ConvNet"))
    tested = networks.parse(own).twin if network is None else network
    _parsed(tested)
    method = str(told.get("method", "imported"))
    ipc = told.get("ipc") or len(made.images if made else ()) // data.num_classes
    seed = arguments.whole("seed", told.get("seed", 0) if seed is None else seed, 0)
    way = _protocol(protocol, method, told.get("protocol"))
    if settings is None:
        point = {"dataset": data.name, "tested": tested, "ipc": str(ipc)}
        values: dict[str, Any] = {}
        for _, part in protocols.parts(way, point):
            values |= part
        settings = evaluation.Settings(**values)
    chosen = _settings(evaluation.Settings, "the evaluation", settings, changes)
    where = devices.choose(device)
    if chosen.labels == "teacher" and made is not None:
        made.fitted(data)  # what does not fit is told before a teacher is trained
    work = Evaluation(
        tested,
        chosen,
        data,
        made,
        where,
        Whitening.fit(data).apply if chosen.space == "whitened" else None,
        _reference(tested, data, where).network if chosen.labels == "teacher" else None,
    )
    condensed = own if made is not None else tested
    random = Streams(data.name, method, condensed, ipc, seed, "evaluation", tested)
    return _run(work, random, checkpoint, f"{tested} on {method}", first_of_more=True)


def load_set(
    path: str | Path,
    data: ImageDataset,
    *,
    experiment: int = 0,
    settings: of_others.Settings | None = None,
    **changes: Any,
) -> SyntheticSet:
    """Return somebody's set, or one of ours, as `evaluate` takes it: normalised as `data` are.

    Args:
        path: of any file or folder that `dclib.methods.imported.formats` knows.
        experiment: which of several sets in it, from 0.
        settings: an object that says what the file does not tell.
        changes: settings by name that differ from these, as `space="pixels"`; `protocol` is what
            `own` means to `evaluate`.

    Raises:
        InputError: it is none of the known kinds, does not fit `data`, or does not tell enough.
    """
    place = arguments.path("path", path)
    _check_data(data)
    experiment = arguments.whole("experiment", experiment, 0)
    if "file" in changes:
        raise InputError(f"{place}: 'file' is told by the path; leave it out")
    if settings is None:
        changes = {"file": str(place), **changes}
    chosen = _settings(of_others.Settings, str(place), settings, changes)
    own = _protocol(chosen.protocol, "imported")
    _, found = formats.read(place)
    one = found[min(experiment, len(found) - 1)]
    ipc = len(one.ready.images if one.ready else one.images) // data.num_classes
    ipc //= imported.taken_apart(one.ready) if one.ready else 1
    made = imported.load(
        place, chosen, data, ipc, experiment, lambda images: Whitening.fit(data).invert(images)
    )
    if "ipc" not in made.metadata:  # stored images, whose small ones are images by now
        made = made.with_metadata(ipc=ipc)
    if "protocol" in changes or (settings is not None and "method" not in made.metadata):
        return made.with_metadata(protocol=own)
    return made


def load(path: str | Path) -> TensorDataset:
    """Return the images and labels of a condensed set, for training code of your own.

    Args:
        path: of a file of ours, whose images are normalised as its metadata say, or of any that
            `dclib.methods.imported.formats` knows, as it has them; the first set in it.

    Raises:
        InputError: it is none of these.
    """
    _, (first, *_) = formats.read(arguments.path("path", path))
    if first.labels is None:
        raise InputError(f"{path}: has no labels beside it")
    return TensorDataset(first.images, first.labels)


_DATA = "an ImageDataset, as dclib.read returns"
_A_SET = "a SyntheticSet, as dclib.condense and dclib.load_set return"


def _check_data(data: Any) -> None:
    arguments.instance("data", data, ImageDataset, _DATA)
    data.check()


def _parsed(network: Any) -> networks.Spec:
    return networks.parse(arguments.text("network", network, "a name, as 'ConvNet'"))


def _settings(kind: type[Kind], what: str, given: Any, changes: dict[str, Any]) -> Kind:
    """Settings of a kind with changes by name; refused in one line."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := [name for name in changes if name not in known]:
        raise InputError(
            f"{what}: setting '{unknown[0]}' is unknown{did_you_mean(unknown[0], known)}; allowed: "
            f"{', '.join(known) or 'none'}"
        )
    if given is not None and not isinstance(given, kind):
        raise InputError(
            f"{what}: settings are {type(given).__module__}.{type(given).__name__}; allowed is "
            f"{kind.__module__}.{kind.__name__}"
        )
    try:
        same: Any = given
        return kind(**changes) if same is None else dataclasses.replace(same, **changes)
    except ValidationError as error:
        fault = error.errors()[0]
        if not fault["loc"]:  # it is about several of them together
            raise InputError(f"{what}: {one_line(fault['ctx']['error'])}") from error
        where = ".".join(map(str, fault["loc"]))
        raise InputError(f"{what}: {where} is {fault['input']!r}; {fault['msg']}") from error


def _known(method: str) -> str:
    """The method that a name, or that of a variant which it knows itself, stands for."""
    name = conditions.base(method)
    known = conditions.methods(methods.face(name).where) if name in methods.names() else ()
    return name if method in known else method


def _protocol(name: str, method: str, own: Any = None) -> str:
    """The known protocol that a name stands for; `own` is what was said of the set."""
    arguments.text("protocol", name, f"one of {', '.join(protocols.PROTOCOLS)}")
    if name == protocols.OWN:
        if own in [*protocols.PROTOCOLS]:
            return str(own)
        if conditions.base(method) in methods.names():
            return methods.face(conditions.base(method)).protocol
        raise InputError(
            "protocol 'own' is the one of the method that a set is by, and this set does not tell "
            f"a method of dclib; allowed is one of {', '.join(protocols.PROTOCOLS)}"
        )
    if name not in protocols.PROTOCOLS:
        known = [*protocols.PROTOCOLS, protocols.OWN]
        raise InputError(
            f"protocol '{name}' is not one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    return name


def _reference(network: str, data: ImageDataset, device: torch.device) -> Reference:
    """A network trained on the whole training split, as a grid trains it by default."""
    work = Training(network, reference.Settings(), data, device)
    return _run(work, Streams(data.name, "reference", network), None, "reference network")


def _run(
    work: Any, random: Streams, checkpoint: str | Path | None, description: str, **more: Any
) -> Any:
    """What a computation results in; without a checkpoint, nothing of it is left."""
    with tempfile.TemporaryDirectory() as folder:
        result, _ = runner.run(
            work,
            random,
            checkpoint=checkpoint or Path(folder, "checkpoint.safetensors"),
            digest=codebase.digest(type(work).__module__),
            checkpoint_seconds=60.0 if checkpoint else math.inf,
            replaces=False,
            description=description,
            **more,
        )
    return result


def _writable(checkpoint: Any) -> Path | None:
    """The path of a checkpoint that can be written, as far as that can be seen before."""
    if checkpoint is None:
        return None
    path = arguments.path("checkpoint", checkpoint)
    if path.is_dir():
        raise InputError(f"checkpoint is {path}, a folder; allowed is a file")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"checkpoint {path}: {there} is no folder that can be written")
    return path
