"""Start from a network with other labels or other input images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from neoseg.digests import digest_of
from neoseg.findings.command_line import override, quoted
from neoseg.findings.problems import CohortError
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError
from neoseg.inference.checkpoint import CheckpointError, predicting_checkpoint, read_weights
from neoseg.inference.model import ModelSpec
from neoseg.inference.model_file import ENDING
from neoseg.inference.trained import TrainedNetwork
from neoseg.labels.carried import Carried, Told, carried
from neoseg.networks import Head, make_head
from neoseg.networks.carry import Moved, head_start, image_start, moved, roles
from neoseg.training.module import SegmentationModule
from neoseg.training.nnunet import is_nnunet, nnunet_of

log = logging.getLogger(__name__)

MIN_SHARE = 0.1
"""Smallest fraction of a network's parameters that must match; below it, it is another network."""


@dataclass(frozen=True)
class Source:
    """A network to start from.

    Attributes:
        name: as given by the user.
        fingerprint: hex digest of the file that holds it.
        weights: its `state_dict`.
        images: names of its input channels; None if the file does not record them.
        head: meaning of its output channels; None if the file does not record it.
        trained: the network itself, ready to predict; None if another project trained it.
        options: if another project trained it, the options that configure the same network in a
            run.
    """

    name: str
    fingerprint: str
    weights: dict[str, Tensor]
    images: tuple[str, ...] | None
    head: Head | None
    trained: TrainedNetwork | None = None
    options: str = ""

    @classmethod
    def read(cls, place: str, allow: tuple[str, ...] = (), device: str = "cpu") -> Source:
        """Read a run folder, a file of `neoseg export`, or a file of weights, all as data only.

        Raises:
            ConfigError: nothing at that path, a damaged file, a file that holds more than data, or
                several networks.
        """
        path = Path(place)
        inside = path / "models" / "model.pt"
        if inside.is_file() and not predicting_checkpoint(path).is_file():
            raise ConfigError(
                f"init_from={place} is a folder, such as of a MONAI bundle; name the weights in "
                f"it: {override('init_from', inside)}"
            )
        if path.is_dir():
            trained = TrainedNetwork.load(path, device, allow=allow)
            file = predicting_checkpoint(path)
        elif not path.exists():
            raise ConfigError(
                f"init_from={place}: there is nothing of that name; give a run folder, a file of "
                "`neoseg export`, or a file of weights"
            )
        elif path.suffix == ENDING:
            members = TrainedNetwork.load_file(path, device, allow=allow)
            trained, file = next(iter(members.values())), path
            if len(members) > 1:
                raise ConfigError(
                    f"init_from={place} holds {len(members)} networks ({', '.join(members)}); "
                    "export one run alone, or name its folder"
                )
        else:
            try:
                return cls._read_foreign(place, path)
            except (CheckpointError, ForeignError, CohortError) as error:
                raise ConfigError(f"init_from: {error}") from None
        weights, spec = _finite(trained.network.state_dict(), place), trained.spec
        meaning = (spec.channel_names, spec.make_head())
        return cls(place, digest_of(file), weights, *meaning, trained)

    @classmethod
    def _read_foreign(cls, place: str, path: Path) -> Source:
        weights, content = read_weights(path)
        _finite(weights, place)
        if not is_nnunet(weights):
            return cls(place, digest_of(path), weights, None, None)
        network = nnunet_of(path, weights, content)
        head = None if network.space is None else make_head("softmax", network.space)
        return cls(
            place, digest_of(path), network.weights, network.images, head, options=network.options
        )


def _finite(weights: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if bad:
        raise ConfigError(
            f"init_from={place} has weights that are no numbers ({bad[0]}, {len(bad)} in all): "
            "its training has failed; name another run"
        )
    return weights


def start(module: SegmentationModule, source: Source, told: Told | None) -> dict[str, Any]:
    """Initialise all networks of a module from a source; return a report of what came from where.

    The teacher is a copy of the student; a peer differs from it in the randomly drawn weights.

    Args:
        module: with randomly drawn weights.
        source: the network to start from.
        told: what the names in the label tables do not determine, see `carried`.

    Raises:
        ConfigError: a network that has almost nothing in common with the module's.
        LabelError: names in `told` that the tables do not have.
    """
    spec, images, head, starts = module.spec, None, None, None
    if source.images is not None:
        images = image_start(source.images, spec.channel_names)
        _warn_of_other_names(source, spec)
    if source.head is not None:
        starts = carried(source.head.space, spec.space, told)
        head = head_start(source.head, module.head, starts)

    layer_roles = roles(module.network, module.another)
    source = replace(source, weights=_match_keys(source.weights, module.network.state_dict()))
    report: dict[str, Any] = {}
    for name, network in module.learners.items():
        transfer = moved(source.weights, network, layer_roles, images, head)
        if name == "student":
            report = _layer_report(source, transfer)
        network.load_state_dict(transfer.weights)
    if module.teacher is not None:
        module.teacher.average.module.load_state_dict(module.network.state_dict())
    origin = {"from": source.name, "fingerprint": source.fingerprint}
    classes = _classes(starts, source, spec)
    return {**origin, "classes": classes, "images": _images(source.images, spec), **report}


def _match_keys(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, or a part of them, renamed so that most names are those of `wanted`.

    Networks may lie below the attribute of a wrapper: `HeadList` here, Lightning modules elsewhere.
    Of several parts alike, as of a student and its average, the first by name is taken.
    """
    prefixes = ["", *sorted({name.partition(".")[0] + "." for name in weights})]
    renamed = (
        {wrapper + k.removeprefix(p): v for k, v in weights.items() if k.startswith(p)}
        for wrapper in ("", "network.")
        for p in prefixes
    )
    return max(renamed, key=lambda part: len(part.keys() & wanted.keys()))


def _layer_report(source: Source, got: Moved) -> dict[str, Any]:
    kept, fitted, drawn = got.kept, got.fitted, got.drawn
    sizes = {name: value.numel() for name, value in got.weights.items()}
    share = sum(sizes[name] for name in (*kept, *fitted)) / max(1, sum(sizes.values()))
    if share < MIN_SHARE:
        raise ConfigError(
            f"init_from={source.name} is another network: of the {len(sizes)} weights of "
            f"this one it has {len(kept + fitted)} alike ({share:.0%} of the numbers), the first "
            f"that differs is {drawn[0] if drawn else fitted[0]}; choose the network of that run"
            + (f", {source.options}" if source.options else "")
        )
    unused = sorted(source.weights.keys() - sizes.keys())
    return {"share": round(share, 4), "fitted": list(fitted), "drawn": list(drawn), "left": unused}


def _classes(
    starts: tuple[Carried, ...] | None, source: Source, new: ModelSpec
) -> list[dict[str, str]]:
    if starts is None or source.head is None:
        return [{"class": entry.abbreviation, "from": "drawn"} for entry in new.space.classes]
    return [
        {"class": entry.abbreviation, "from": start.words(source.head.space)}
        for entry, start in zip(new.space.classes, starts, strict=True)
    ]


def _images_in(channels: Sequence[str]) -> list[str]:
    """Return the channels without those that only say whether an image is present."""
    return [name for name in channels if not name.endswith("?")]


def _warn_of_other_names(source: Source, new: ModelSpec) -> None:
    """Warn where several images start alike because none is called as in the other network."""
    theirs, own = _images_in(source.images or ()), _images_in(new.channel_names)
    if len(theirs) > 1 and not set(theirs) & set(own):
        names = ",".join(quoted(name) for name in theirs)
        log.warning(
            "%s reads the images %s, and this run has %s: as no name is the same, each starts with "
            "the mean of all; if they are images of one kind, call them alike: %s",
            *(source.name, ", ".join(theirs), ", ".join(own)),
            override("cohort.modalities", f"[{names}]"),
        )


def _images(old: tuple[str, ...] | None, new: ModelSpec) -> list[dict[str, str]]:
    if old is None:
        return []
    current = new.channel_names
    nothing = "added, starts at nothing"
    source = nothing if set(old) & set(current) else f"mean of {', '.join(_images_in(old))}"
    rows = [
        {"image": n, "from": n if n in old else source if n in _images_in(current) else nothing}
        for n in current
    ]
    dropped = [n for n in old if n not in current] if set(old) & set(current) else []
    return rows + [{"image": n, "from": "left out"} for n in dropped]


def report_table(report: dict[str, Any]) -> Table:
    """Return a table of which weights came from where."""
    table = Table("", "from", title=escape(f"weights of {report['from']}"), title_justify="left")
    for row in (*report["images"], *report["classes"]):
        table.add_row(*map(escape, row.values()))
    caption = (
        f"{report['share']:.0%} of all weights, {len(report['fitted'])} tensors of them brought "
    )
    layers = {name.removeprefix("network.").split(".")[0] for name in report["drawn"]}
    drawn = f" ({', '.join(sorted(layers))})" if layers else ""
    caption += f"to other channels; {len(report['drawn'])} tensors drawn{drawn}"
    table.caption = escape(caption)
    return table
