"""Starting from a network that knows other labels, or reads other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from neoseg.digests import digest_of
from neoseg.findings.problems import CohortError
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError
from neoseg.inference.checkpoint import CheckpointError, predicting_checkpoint, read_weights
from neoseg.inference.model import ModelSpec
from neoseg.inference.model_file import ENDING
from neoseg.inference.trained import TrainedNetwork
from neoseg.labels.carried import Carried, Told, carried
from neoseg.networks import Head, make_head
from neoseg.networks.carry import head_start, image_start, moved, roles
from neoseg.training.module import SegmentationModule
from neoseg.training.nnunet import is_nnunet, nnunet_of

LEAST = 0.1
"""Share of the numbers of a network that must be found; with less it is another one."""


@dataclass(frozen=True)
class Source:
    """A network to start from.

    Attributes:
        name: what the user has named.
        fingerprint: hex digits of the file that holds it.
        weights: as its `state_dict` has them.
        images: names of its input channels; None where its file does not tell.
        head: what the channels mean that it gives; None likewise.
        trained: the network itself, ready to predict; None for one of another project.
        options: what makes the network of a run the same, where another project has trained it.
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
            ConfigError: nothing there, a damaged file, one that holds more than data, or several
                networks.
        """
        path = Path(place)
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
                return cls._of_another_project(place, path)
            except (CheckpointError, ForeignError, CohortError) as error:
                raise ConfigError(f"init_from: {error}") from None
        weights, spec = _finite(trained.network.state_dict(), place), trained.spec
        meaning = (spec.channel_names, spec.make_head())
        return cls(place, digest_of(file), weights, *meaning, trained)

    @classmethod
    def _of_another_project(cls, place: str, path: Path) -> Source:
        weights, told = read_weights(path)
        _finite(weights, place)
        if not is_nnunet(weights):
            return cls(place, digest_of(path), weights, None, None)
        net = nnunet_of(path, weights, told)
        head = None if net.space is None else make_head("softmax", net.space)
        return cls(place, digest_of(path), net.weights, net.images, head, options=net.options)


def _finite(weights: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    wrong = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if wrong:
        raise ConfigError(
            f"init_from={place} has weights that are no numbers ({wrong[0]}, {len(wrong)} in all): "
            "its training has failed; name another run"
        )
    return weights


def start(module: SegmentationModule, source: Source, told: Told | None) -> dict[str, Any]:
    """Give all networks of a module the weights of a source; return what came from where.

    The teacher is the student's copy; a peer differs from it where weights were drawn.

    Args:
        module: with weights that were drawn.
        source: the network to start from.
        told: what the names of the label tables do not tell, see `carried`.

    Raises:
        ConfigError: a network that has next to nothing in common with the module's.
        LabelError: names in `told` that the tables do not have.
    """
    spec, images, head, starts = module.spec, None, None, None
    if source.images is not None:
        images = image_start(source.images, spec.channel_names)
    if source.head is not None:
        starts = carried(source.head.space, spec.space, told)
        head = head_start(source.head, module.head, starts)

    known = roles(module.network, module.another)
    source = replace(source, weights=_as_named(source.weights, module.network.state_dict()))
    report: dict[str, Any] = {}
    for name, network in module.learners.items():
        found = moved(source.weights, network, known, images, head)
        if name == "student":
            report = _layers(source, found.kept, found.fitted, found.drawn, found.weights)
        network.load_state_dict(found.weights)
    if module.teacher is not None:
        module.teacher.average.module.load_state_dict(module.network.state_dict())
    told_of = {"from": source.name, "fingerprint": source.fingerprint}
    classes = _classes(starts, source, spec)
    return {**told_of, "classes": classes, "images": _images(source.images, spec), **report}


def _as_named(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of a network that lists its heads (`HeadList`), or does not."""
    inside = "network."
    if weights.keys() & wanted.keys():
        return weights
    if any(name.startswith(inside) for name in wanted):
        return {inside + name: value for name, value in weights.items()}
    return {name.removeprefix(inside): value for name, value in weights.items()}


def _layers(
    source: Source,
    kept: tuple[str, ...],
    fitted: tuple[str, ...],
    drawn: tuple[str, ...],
    weights: dict[str, Tensor],
) -> dict[str, Any]:
    numbers = {name: value.numel() for name, value in weights.items()}
    share = sum(numbers[name] for name in (*kept, *fitted)) / max(1, sum(numbers.values()))
    if share < LEAST:
        raise ConfigError(
            f"init_from={source.name} is another network: of the {len(numbers)} weights of "
            f"this one it has {len(kept + fitted)} alike ({share:.0%} of the numbers), the first "
            f"that differs is {drawn[0] if drawn else fitted[0]}; choose the network of that run"
            + (f", {source.options}" if source.options else "")
        )
    unused = sorted(source.weights.keys() - numbers.keys())
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


def _images(there: tuple[str, ...] | None, new: ModelSpec) -> list[dict[str, str]]:
    if there is None:
        return []
    here = new.channel_names
    other = "added, starts at nothing" if set(there) & set(here) else f"mean of {', '.join(there)}"
    rows = [{"image": n, "from": n if n in there else other} for n in here]
    left = [n for n in there if n not in here] if set(there) & set(here) else []
    return rows + [{"image": n, "from": "left out"} for n in left]


def report_table(report: dict[str, Any]) -> Table:
    """Draw what came from where."""
    table = Table("", "from", title=escape(f"weights of {report['from']}"), title_justify="left")
    for row in (*report["images"], *report["classes"]):
        table.add_row(*map(escape, row.values()))
    told = f"{report['share']:.0%} of all weights, {len(report['fitted'])} tensors of them brought "
    parts = {name.removeprefix("network.").split(".")[0] for name in report["drawn"]}
    where = f" ({', '.join(sorted(parts))})" if parts else ""
    caption = f"{told}to other channels; {len(report['drawn'])} tensors drawn{where}"
    table.caption = escape(caption)
    return table
