"""Small heads on disk: a shell of fluid around a brain whose parts a protocol can hide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neoseg.augment.intensity import IntensitySettings
from neoseg.augment.settings import AugmentSettings
from neoseg.augment.warp import SpatialSettings
from neoseg.cohort import Assignment, Cohort, Scan, Source, Split
from neoseg.cohort.split import SPLITS
from neoseg.labels import Convention, LabelSpace, LabelTable, Protocol
from neoseg.patches.datamodule import MixedDataModule, Plan
from neoseg.patches.dataset import PatchSettings
from neoseg.store import PrepareSettings
from neoseg.store.store import Store

TABLE = {
    "name": "small",
    "background": 0,
    "leaves": [
        {"index": 0, "name": "Clear", "abbreviation": "BG", "color": "#000000"},
        {"index": 1, "name": "Fluid", "abbreviation": "CSF", "color": "#0000ff"},
        {"index": 11, "name": "Grey left", "abbreviation": "GM_L", "color": "#ff0000"},
        {"index": 12, "name": "Grey right", "abbreviation": "GM_R", "color": "#00ff00"},
        {"index": 20, "name": "White", "abbreviation": "WM", "color": "#ffffff"},
    ],
    "classes": [
        {"abbreviation": "GM", "name": "Grey", "leaves": ["GM_L", "GM_R"]},
        {"abbreviation": "TCV", "name": "Brain", "leaves": ["GM", "WM"]},
    ],
    "mirror": [[11, 12]],
}
CHILDREN = (11, 12, 20)
SHAPE = (20, 24, 18)
AFFINE = np.diag([1.0, 0.8, 1.2, 1.0])

SPATIAL = SpatialSettings(rotation=20, elastic=1.0, elastic_grid=8.0, probability=1.0)
AUGMENT = AugmentSettings(spatial=SPATIAL, intensity=IntensitySettings())


def small_space() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.model_validate(TABLE))


@pytest.fixture(scope="session", name="space")
def small_space_fixture() -> LabelSpace:
    """Leaves BG, CSF, GM_L, GM_R, WM; classes GM and TCV."""
    return small_space()


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def head(rng: np.random.Generator, shape: Sequence[int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 and labels uint8 of one head."""
    axes = [np.linspace(-1.2, 1.2, n) + rng.uniform(-0.1, 0.1) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros(shape, np.uint8)
    labels[radius < 1.0] = 1
    brain = radius < 0.8
    labels[brain] = np.where(radius < 0.4, 20, np.where(x < 0, 11, 12))[brain]
    values = np.zeros(256)
    values[[0, 1, 11, 12, 20]] = (0.0, 300.0, 140.0, 160.0, 220.0)
    image = values[labels] + rng.normal(0, 10, shape)
    return image.astype(np.float32), labels


def scramble(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace every voxel of a child of TCV by a child at random."""
    hidden = np.isin(labels, CHILDREN)
    result = labels.copy()
    result[hidden] = rng.choice(np.array(CHILDREN, np.uint8), int(hidden.sum()))
    return result


def write_cohort(
    root: Path, number: int = 4, scrambled: Sequence[int] = (), unlabelled: Sequence[int] = ()
) -> Cohort:
    """Write `number` heads; the children of TCV are noise in those that `scrambled` names."""
    scans = []
    for n in range(number):
        image, labels = head(np.random.default_rng(n))
        if n in scrambled:
            labels = scramble(labels, np.random.default_rng(1000 + n))
        folder = root / f"sub-{n:02}"
        label = None if n in unlabelled else save(folder / "labels.nii.gz", labels)
        scans.append(
            Scan(
                subject=f"{n:02}",
                session=None,
                images=(save(folder / "image.nii.gz", image),),
                label=label,
                mask=None,
                scan_age=40.0,
                birth_age=None,
                cohort="small",
            )
        )
    return Cohort("small", tuple(scans), Convention.identity(small_space()), ("T2w",))


def annotate_cohort(
    cohort: Cohort,
    streams: Sequence[str],
    splits: Sequence[str] | None = None,
    protocol: dict[str, object] | None = None,
) -> Plan:
    """Give each scan a stream; "partial" ones are told as `protocol`, by default TCV as one."""
    space = cohort.convention.space
    partial = Protocol.parse(space, protocol or {"name": "partial", "merge": ["TCV"]})
    protocols = {
        "full": Protocol.full(space),
        "partial": partial,
        "unlabelled": Protocol.unlabelled(space),
    }
    splits = splits or ["train"] * len(streams)
    assignments = tuple(
        Assignment(scan.subject, scan.session, split, stream, stream)  # type: ignore[arg-type]
        for scan, stream, split in zip(cohort.scans, streams, splits, strict=True)
    )
    parts = ({item.subject for item in assignments if item.split == name} for name in SPLITS)
    split = Split(*(tuple(sorted(subjects)) for subjects in parts))
    return Plan.of([Source(cohort, split, assignments, protocols)])


def make_data(
    annotated: Plan,
    store: Path,
    patches: PatchSettings | None = None,
    augment: AugmentSettings = AUGMENT,
    with_teacher: bool = False,
    seed: int = 3,
) -> MixedDataModule:
    """A data module that is set up."""
    patches = patches or PatchSettings(size=(8, 8, 8), batch_size=4, steps_per_epoch=3, workers=0)
    data = MixedDataModule(
        annotated, Store(store, PrepareSettings(locations=50)), patches, augment, seed, with_teacher
    )
    data.prepare_data()
    data.setup()
    return data
