"""Load the configuration and the networks of a run, as data only."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.configuration.data import DataConfig
from neoseg.findings.command_line import override
from neoseg.findings.settings import ConfigError
from neoseg.foreign import CONFIG, ForeignError, read_config, value_at
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.image_names import CORRECTED, Naming
from neoseg.inference.model_file import read_head
from neoseg.inference.segmenter import Segmenter, segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.runs.folder import RECORD
from neoseg.runs.people import SPLIT

log = logging.getLogger(__name__)

Moved = Path | dict[str, Path]
"""Where the cohort of a run lies now, or each of several by name."""


def load_config(run: Path) -> dict[str, Any]:
    """Return `config.yaml` of a run folder; raises `ConfigError` if it is missing or invalid."""
    path = run / CONFIG
    if not path.is_file():
        raise ConfigError(f"{run} is not a run folder: it has no {CONFIG}")
    try:
        return read_config(path)
    except ForeignError as error:
        raise ConfigError(str(error)) from None


def data_of(
    run: Path, allow: Sequence[str] = (), root: Moved | None = None, **changes: Any
) -> DataConfig:
    """Return the part of a run's configuration that defines its scans.

    Args:
        run: run folder.
        allow: packages whose readers may be used.
        root: where the cohorts lie now, if they were moved.
        changes: replace sections of the configuration; None keeps that of the run.

    Raises:
        ConfigError: invalid configuration, or a cohort that is not where it was.
    """

    def parsed(content: Mapping[str, Any]) -> DataConfig:
        selected = {key: content[key] for key in DataConfig.model_fields if key in content}
        selected |= {key: value for key, value in changes.items() if value is not None}
        return DataConfig.parse(selected | {"allow": list(allow)})

    content = load_config(run)
    data = parsed(content)  # what may not be built is refused before anything else
    if changes.get("cohort") is not None:
        if root is not None:
            raise ConfigError("root is for a run's own cohort; of another, set cohort.root")
        return data
    moved = _moved(run, content, root)
    warn_of_relative_paths(run, moved)
    return data if moved == content else parsed(moved)


def _moved(run: Path, content: Mapping[str, Any], root: Moved | None) -> dict[str, Any]:
    """Return a run's configuration with the folders in which its cohorts lie now.

    Tables below a folder that was moved are sought in its new place. A split table that has gone
    is replaced by the run's own, which has the same rows.

    Raises:
        ConfigError: `root` names a cohort that the run does not have, or no folder is where the
            run had it.
    """
    cohorts = _cohorts(content)
    names = {name or str(value_at(content, "cohort.name")): name for name in cohorts}
    if isinstance(root, Path):
        root = {next(iter(names)): root}
    if unknown := sorted(set(root or {}) - set(names)):
        raise ConfigError(f"root names {', '.join(unknown)}, and the run has {', '.join(names)}")
    gone = []
    for name, key in names.items():
        entry = cohorts[key]
        place = value_at(entry, "cohort.root")
        if name in (root or {}):
            _move(entry, Path(str(place)), (root or {})[name])
        elif place and value_at(entry, "cohort.phantom") is None and not _is_there(str(place)):
            now = override("root", f"{{{name}: FOLDER}}" if len(names) > 1 else "FOLDER")
            here = "" if Path(str(place)).is_absolute() else f" in {Path.cwd()}"
            gone.append(f"{place} is not there{here}; say where it lies now, by {now}")
        table = value_at(entry, "split.file")
        if table is not None and not Path(str(table)).expanduser().exists():
            entry["split"] = {**entry["split"], "file": str(run / SPLIT), "subset": True}
    if gone:
        raise ConfigError(f"{run} was trained on scans that lie elsewhere: {'; '.join(gone)}")
    extras = {name: entry for name, entry in cohorts.items() if name}
    return cohorts[""] | ({"extra_cohorts": extras} if extras else {})


def _is_there(place: str) -> bool:
    return Path(place).expanduser().exists()


def _move(entry: dict[str, Any], old: Path, new: Path) -> None:
    """Replace the folder (or table) of a cohort in its section, and that of tables beside it."""
    entry["cohort"] = {**entry["cohort"], "root": str(new)}
    if new.is_file():
        old, new = old.parent, new.parent
    for section, key in (("split", "file"), ("annotation", "file"), ("annotation", "full")):
        file = value_at(entry, f"{section}.{key}")
        if isinstance(file, str) and Path(file).is_relative_to(old) and not Path(file).exists():
            moved = new / Path(file).relative_to(old)
            entry[section] = {**entry[section], key: str(moved)}


def _cohorts(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return copies of the sections of each cohort: "" is the first, with all other sections."""
    extras = content.get("extra_cohorts") or {}
    sections = [content, *extras.values()] if isinstance(extras, dict) else [None]
    if not all(isinstance(e, dict) and isinstance(e.get("cohort"), dict) for e in sections):
        raise ConfigError("the run's configuration has a cohort that is not a section; restore it")
    return {"": dict(content)} | {name: dict(entry) for name, entry in extras.items()}


def warn_of_relative_paths(run: Path, content: Mapping[str, Any]) -> None:
    """Warn about relative paths in a run's configuration that do not exist in the current folder.

    A phantom's root is ignored, since a missing phantom is generated.
    """
    for name, entry in _cohorts(content).items():
        prefix = f"extra_cohorts.{name}." if name else ""
        generated = value_at(entry, "cohort.phantom") is not None
        for key in ("cohort.root", "split.file", "annotation.file"):
            value = None if generated and key == "cohort.root" else value_at(entry, key)
            path = Path(str(value)).expanduser()
            if value and not path.is_absolute() and not path.exists():
                log.warning(
                    "%s was trained with %s%s=%s, which starts from the folder of that training "
                    "and is not in %s: start this command there",
                    *(run, prefix, key, value, Path.cwd()),
                )


def warn_of_unfinished(runs: Sequence[Path]) -> None:
    """Warn about unfinished runs, whose networks can be used all the same."""
    for run in runs:
        if (run / CONFIG).is_file() and not (run / RECORD).is_file():
            log.warning("%s has not ended: its network is that of its last checkpoint", run)


def naming_of(run: Path) -> Naming:
    """Return how the images that a run was trained on are told by their names."""
    if run.is_file():
        first = read_head(run).members[0]
        return Naming(first.desc, first.space, first.entities, first.names)
    if not (run / CONFIG).is_file():
        return Naming()
    cohort = value_at(load_config(run), "cohort", {})
    entities = dict(cohort.get("image_entities") or {})
    space, desc = entities.pop("space", None), cohort.get("image_desc")
    if not desc and isinstance(cohort.get("restore"), bool):  # of the dHCP
        desc = CORRECTED if cohort["restore"] else "none"
    names = {str(k): str(v) for k, v in (cohort.get("names") or {}).items()}
    return Naming(str(desc) if desc else None, str(space) if space else None, entities, names)


def load_predictor(
    runs: Sequence[Path],
    device: str,
    predict_with: str | None,
    allow: Sequence[str] = (),
    **window: Any,
) -> tuple[Segmenter | Ensemble, tuple[str, ...]]:
    """Load a segmenter of one run, or an ensemble of several; return it with its modalities.

    Only the predicting network of each run stays in memory. A run may be a file of `neoseg export`,
    with one or several networks.

    Raises:
        ConfigError: runs that cannot be loaded, or that have different label tables or modalities.
    """
    networks: dict[str, TrainedNetwork] = {}
    if len(set(runs)) < len(runs):
        raise ConfigError(f"run names a folder twice: {', '.join(map(str, runs))}")
    for run in runs:
        if run.is_file():
            members = TrainedNetwork.load_file(run, device, predict_with, allow)
            networks |= {f"{run}: {name}": trained for name, trained in members.items()}
        else:
            networks[str(run)] = TrainedNetwork.load(run, device, predict_with, allow)
    return together(networks, **window)


def together(
    networks: Mapping[str, TrainedNetwork], **window: Any
) -> tuple[Segmenter | Ensemble, tuple[str, ...]]:
    """Return a segmenter of one network, or an ensemble of several, with its modalities.

    Raises:
        ConfigError: networks that have different label tables or modalities.
    """
    (name, first), *others = networks.items()
    for other_name, trained in others:
        if trained.spec.modalities != first.spec.modalities:
            raise ConfigError(
                f"the runs of an ensemble must read the same images: {name} was trained on "
                f"{list(first.spec.modalities)}, {other_name} on {list(trained.spec.modalities)}"
            )
    members = {
        name: segmenter_of(trained.spec, trained.network, trained.device, **window)
        for name, trained in networks.items()
    }
    if not others:
        return members[name], first.spec.modalities
    try:
        return Ensemble(members), first.spec.modalities
    except ValueError as error:
        raise ConfigError(str(error)) from None
