"""Small cohorts on disk, each broken in one way: an example for every kind of problem."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np

from neoseg.cohort import AnnotationSettings, Cohort, CohortError, Source, read_bids, read_dhcp
from neoseg.cohort.annotated import with_annotation
from neoseg.cohort.annotation import plan_annotation
from neoseg.cohort.split import make_split
from neoseg.doctor.diagnosis import Diagnosis
from neoseg.doctor.examination import diagnose
from neoseg.labels import LabelSpace, LabelTable
from neoseg.store import PrepareSettings
from neoseg.store.store import Store
from neoseg.store.voxel_size import with_voxel_size

LEAVES = {0: "Clear BG", 1: "Fluid CSF", 2: "Cortex cGM", 3: "White WM", 4: "Deep dGM"}
TABLE = {
    "name": "example",
    "background": 0,
    "leaves": [
        {"index": index, "name": name.split()[0], "abbreviation": name.split()[1], "color": colour}
        for (index, name), colour in zip(
            LEAVES.items(), ("#000000", "#0000ff", "#ff0000", "#ffffff", "#00ff00"), strict=True
        )
    ],
    "classes": [{"abbreviation": "TCV", "name": "Brain", "leaves": ["cGM", "WM", "dGM"]}],
}
SUBJECTS = ("01", "02", "03")
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


@dataclass
class Example:
    """A cohort to break: its folder, and how it is read."""

    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    reader: Callable[..., Cohort] = read_bids
    annotation: Mapping[str, Any] | None = None
    prepared: Callable[[Store], None] | None = None
    unreadable: bool = False
    mirror: Sequence[tuple[int, int]] = ()

    def file(self, name: str, subject: str = "01") -> Path:
        """Return the path of a file of a subject."""
        return self.root / f"sub-{subject}" / "anat" / f"sub-{subject}_{name}.nii.gz"

    @property
    def table(self) -> Path:
        """`participants.tsv`."""
        return self.root / "participants.tsv"


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image float32 and labels uint8 of one head, 16 voxels wide."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, 16)] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes)) * (1 + 0.02 * seed)
    labels = np.digitize(-radius, [-1.0, -0.85, -0.6, -0.35]).astype(np.uint8)
    image = np.array([0, 300, 140, 220, 160])[labels] + rng.normal(0, 10, labels.shape)
    return image.astype(np.float32), labels


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = AFFINE) -> None:
    """Write a NIfTI file; without `affine` it has neither sform nor qform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write_cohort(root: Path) -> Example:
    """Write three whole subjects with images, labels, masks and ages."""
    for number, subject in enumerate(SUBJECTS):
        image, labels = head(number)
        example = Example(root)
        save(example.file("T2w", subject), image)
        save(example.file("dseg", subject), labels)
        save(example.file("desc-brain_mask", subject), (labels > 0).astype(np.uint8))
    rows = [f"{subject}\t{age}\t41\n" for subject, age in zip(SUBJECTS, (28, 31, 39), strict=True)]
    example.table.write_text("participant_id\tbirth_age\tscan_age\n" + "".join(rows))
    names = [f"{index}\t{name.split()[1]}\n" for index, name in LEAVES.items()]
    (root / "dseg.tsv").write_text("index\tname\n" + "".join(names))
    return example


def space(mirror: Sequence[tuple[int, int]] = ()) -> LabelSpace:
    """Return the label space of the examples, with pairs of left and right structures."""
    return LabelSpace.from_table(LabelTable.model_validate({**TABLE, "mirror": mirror}))


def examine(example: Example, store: Path) -> Diagnosis:
    """Read, prepare and judge a cohort as `python -m neoseg.prepare` does."""
    plan = None if example.annotation is None else planner(example.annotation)
    options = {"name": "example", "on_error": "collect", **example.options}
    with _unreadable(example.unreadable):
        try:
            cohort = example.reader(example.root, space(example.mirror), **options)
        except CohortError as error:
            return Diagnosis.of_error("example", error)
        if example.annotation is not None:
            settings = AnnotationSettings.model_validate(example.annotation)
            cohort = with_annotation(cohort, settings, "collect")
        cohort = with_voxel_size(cohort, None)
        prepared = Store(
            store, PrepareSettings(locations=20, processes=1, spacing=cohort.voxel_size)
        )
        diagnosis = diagnose(cohort, prepared, plan)
        if example.prepared is not None:
            example.prepared(prepared)
            diagnosis = diagnose(cohort, prepared, plan)
    return diagnosis


def planner(raw: Mapping[str, Any]) -> Callable[[Cohort], Source]:
    """Return what plans the annotation of a cohort."""
    settings = AnnotationSettings.model_validate(raw)

    def plan(cohort: Cohort) -> Source:
        split = make_split(cohort.scans)
        assignments = plan_annotation(cohort.scans, split, settings)
        protocols = settings.resolved(cohort.convention.space)
        return Source(cohort, split, assignments, protocols)

    return plan


@contextmanager
def _unreadable(broken: bool) -> Iterator[None]:
    """Forbid reading files, also to an administrator, whom permissions do not stop."""
    if not broken:
        yield
        return
    opened = Path.open

    def forbid(path: Path, *args: Any, **options: Any) -> Any:
        if path.suffix == ".gz":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    with mock.patch.object(Path, "open", forbid):
        yield


def thick_slices(example: Example) -> None:
    affine = AFFINE @ np.diag([1, 1, 2, 1])
    image, labels = head(0)
    save(example.file("T2w"), image[..., ::2], affine)
    save(example.file("dseg"), labels[..., ::2], affine)
    save(example.file("desc-brain_mask"), (labels[..., ::2] > 0).astype(np.uint8), affine)


def link_to_nothing(example: Example) -> None:
    path = example.file("T2w")
    path.unlink()
    path.symlink_to(".git/annex/objects/SHA256E-s123.nii.gz")


def forbid(example: Example) -> None:
    example.unreadable = True


def empty(example: Example) -> None:
    example.file("T2w").write_bytes(b"")


def text(example: Example) -> None:
    example.file("T2w").write_text("<html>404 Not Found</html>")


def cut(example: Example) -> None:
    path = example.file("T2w")
    path.write_bytes(path.read_bytes()[:-4000])


def flip_checksum(example: Example) -> None:
    content = bytearray(example.file("dseg").read_bytes())
    content[-8] ^= 0xFF
    example.file("dseg").write_bytes(content)


def link_outside(example: Example) -> None:
    other = example.root.parent / "elsewhere.nii.gz"
    shutil.move(example.file("T2w"), other)
    example.file("T2w").symlink_to(other)


def four_axes(example: Example) -> None:
    save(example.file("T2w"), np.stack([head(0)[0]] * 2, axis=-1))


def trailing_axis(example: Example) -> None:
    save(example.file("T2w"), head(0)[0][..., None])


def complex_numbers(example: Example) -> None:
    save(example.file("T2w"), head(0)[0].astype(np.complex64))


def not_finite(example: Example) -> None:
    image = head(0)[0]
    image[3, 4, :5] = np.nan
    save(example.file("T2w"), image)


def constant(example: Example) -> None:
    save(example.file("T2w"), np.full((16, 16, 16), 7, np.float32))


def outlying(example: Example) -> None:
    image = head(0)[0]
    image[3, 4, 5], image[3, 4, 6] = 1e6, -1e30
    save(example.file("T2w"), image)


def far_border(example: Example) -> None:
    image = head(0)[0]
    image[:2], image[-2:] = -32768, -32768
    save(example.file("T2w"), image)


def computed(example: Example) -> None:
    """Heads in Hounsfield units, prepared as MRI."""
    for number, subject in enumerate(SUBJECTS):
        image, labels = head(number)
        save(example.file("T2w", subject), np.where(labels, image / 4, -1000 + image / 4))


def cropped_labels(example: Example) -> None:
    """The back of a smaller head is drawn, but lies in the dark."""
    image, labels = head(0)
    image[:, :8], image[:3], image[-3:] = 0, 0, 0
    save(example.file("T2w"), image)
    save(example.file("dseg"), labels)


def singular(example: Example) -> None:
    image = nib.Nifti1Image(head(0)[0], None)
    image.header.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), code=1)
    nib.save(image, example.file("T2w"))


def no_affine(example: Example) -> None:
    save(example.file("T2w"), head(0)[0], None)


def metres(example: Example) -> None:
    save(example.file("T2w"), head(0)[0], np.diag([0.0005, 0.0005, 0.0005, 1.0]))


def two_places(example: Example) -> None:
    image = nib.Nifti1Image(head(0)[1], AFFINE)
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), 1)
    nib.save(image, example.file("dseg"))


def unit_of_metres(example: Example) -> None:
    image = nib.Nifti1Image(head(0)[1], AFFINE)
    image.header.set_xyzt_units("meter")
    nib.save(image, example.file("dseg"))


def other_bits(example: Example) -> None:
    content = bytearray(gzip.decompress(example.file("dseg").read_bytes()))
    content[72] = 16
    example.file("dseg").write_bytes(gzip.compress(bytes(content)))


def fewer_planes(example: Example) -> None:
    content = bytearray(gzip.decompress(example.file("dseg").read_bytes()))
    content[46] = 12
    example.file("dseg").write_bytes(gzip.compress(bytes(content)))


def other_shape(example: Example) -> None:
    save(example.file("dseg"), head(0)[1][1:])


def mirrored(example: Example) -> None:
    save(example.file("dseg"), head(0)[1], np.diag([-1.0, 1.0, 1.0, 1.0]))


def mask_shape(example: Example) -> None:
    save(example.file("desc-brain_mask"), np.ones((8, 8, 8), np.uint8))


def label_map_as_image(example: Example) -> None:
    save(example.file("T2w"), head(0)[1] * np.float32(50))


def one_image_twice(example: Example) -> None:
    shutil.copy(example.file("T2w"), example.file("T2w", "02"))


def one_label_map_twice(example: Example) -> None:
    shutil.copy(example.file("dseg"), example.file("dseg", "02"))


def odd_value(example: Example) -> None:
    labels = head(0)[1]
    labels[8, 8, 8:10] = 88
    save(example.file("dseg"), labels)


def fractions(example: Example) -> None:
    save(example.file("dseg"), head(0)[1] * np.float32(0.5))


def rounded(example: Example) -> None:
    save(example.file("dseg"), head(0)[1] * np.float32(1 + 1e-7))


def scaled(example: Example) -> None:
    image = nib.Nifti1Image(head(0)[1].astype(np.float64), AFFINE)
    image.set_data_dtype(np.uint8)  # for which nibabel scales floats to the whole range
    nib.save(image, example.file("dseg"))


def other_names(example: Example) -> None:
    table = example.root / "dseg.tsv"
    for subject in SUBJECTS:
        shutil.copy(table, example.file("dseg", subject).with_name(f"sub-{subject}_dseg.tsv"))
    table.unlink()
    path = example.file("dseg", "02").with_name("sub-02_dseg.tsv")
    path.write_text("index\tname\n1\tcGM\n2\tCSF\n")


def no_names(example: Example) -> None:
    (example.root / "dseg.tsv").unlink()


def no_structure(example: Example) -> None:
    save(example.file("dseg"), np.zeros((16, 16, 16), np.uint8))


def nothing_told(example: Example) -> None:
    save(example.file("dseg"), np.full((16, 16, 16), 9, np.uint8))
    example.options["convention"] = {**{value: value for value in LEAVES}, 9: None}


def never_shown(example: Example) -> None:
    for number, subject in enumerate(SUBJECTS):
        labels = head(number)[1]
        save(example.file("dseg", subject), np.where(labels == 4, 3, labels).astype(np.uint8))


def never_tested(example: Example) -> None:
    example.annotation = {"full_fraction": 1.0, "protocol": {"name": "full"}}
    cohort = example.reader(example.root, space(), name="example")
    (subject,) = make_split(cohort.scans).test
    labels = head(SUBJECTS.index(subject))[1]
    save(example.file("dseg", subject), np.where(labels == 4, 3, labels).astype(np.uint8))


def not_drawn(example: Example) -> None:
    labels = head(1)[1]
    save(example.file("dseg", "02"), np.where(labels == 4, 0, labels).astype(np.uint8))


def every_third_plane(example: Example) -> None:
    labels = head(0)[1]
    drawn = np.zeros_like(labels)
    drawn[:, ::3] = labels[:, ::3]
    save(example.file("dseg"), drawn)


def no_integer(example: Example) -> None:
    example.options["convention"] = {0: 0, 1: 1, 2: 2, 3: 3}
    for number, subject in enumerate(SUBJECTS):
        labels = head(number)[1]
        save(example.file("dseg", subject), np.where(labels == 4, 3, labels).astype(np.uint8))


def outlines(example: Example) -> None:
    example.options["convention"] = {**{value: value for value in LEAVES}, 5: "TCV"}
    for number, subject in enumerate(SUBJECTS[:2]):
        labels = head(number)[1]
        save(example.file("dseg", subject), np.where(labels > 1, 5, labels).astype(np.uint8))


def two_sides(example: Example) -> None:
    for number, subject in enumerate(SUBJECTS):
        labels = head(number)[1]
        labels[:8][labels[:8] > 2] = 3
        labels[8:][labels[8:] > 2] = 4
        save(example.file("dseg", subject), labels)


def exchanged_in_one(example: Example) -> None:
    two_sides(example)
    labels = np.asarray(nib.load(example.file("dseg", "02")).dataobj)
    save(example.file("dseg", "02"), np.array([0, 1, 2, 4, 3], np.uint8)[labels])
    example.mirror = [(3, 4)]


def other_integers_in_one(example: Example) -> None:
    for number, subject in enumerate(SUBJECTS):
        labels = np.roll(head(2)[1], number, axis=0)
        if subject == "02":
            labels = np.array([0, 1, 2, 4, 3], np.uint8)[labels]
        save(example.file("dseg", subject), labels)


def more_than_described(example: Example) -> None:
    labels = head(1)[1]
    save(example.file("dseg", "02"), np.where(labels == 4, 0, labels).astype(np.uint8))
    protocol = {"name": "no_deep_grey", "missing": ["dGM"], "describes": True}
    example.annotation = {"full_fraction": 1.0, "full": ["03"], "protocol": protocol}


def never_annotated(example: Example) -> None:
    example.options["convention"] = {0: 0, 1: 1, 2: "TCV", 3: "TCV", 4: "TCV"}


def unknown_name(example: Example) -> None:
    example.options["convention"] = {0: 0, 1: "Fluids", 2: 2, 3: 3, 4: 4}


def no_labels(example: Example) -> None:
    example.file("dseg", "03").unlink()


def no_image(example: Example) -> None:
    example.options["image_desc"] = "restore"
    for subject in SUBJECTS[1:]:
        name = "desc-restore_T2w"
        example.file("T2w", subject).rename(example.file(name, subject))


def two_labels(example: Example) -> None:
    for name in ("desc-expert_dseg", "desc-drawem9_dseg"):
        shutil.copy(example.file("dseg"), example.file(name))
    example.file("dseg").unlink()


def two_kinds(example: Example) -> None:
    for subject in SUBJECTS[:2]:
        example.file("dseg", subject).rename(example.file("desc-manual_dseg", subject))


def labels_in_a_template(example: Example) -> None:
    for subject in SUBJECTS:
        example.file("dseg", subject).rename(example.file("space-MNI_dseg", subject))


def stray(example: Example) -> None:
    shutil.copy(example.file("T2w"), example.file("T2w").with_name("sub-99_T2w.nii.gz"))


def no_images(example: Example) -> None:
    folder = example.root / "sub-04" / "anat"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("scan aborted")


def linked_twice(example: Example) -> None:
    (example.root / "sub-01" / "ses-1").mkdir()
    (example.root / "sub-01" / "anat").rename(example.root / "sub-01" / "ses-1" / "anat")
    folder = example.root / "sub-01" / "ses-1" / "anat"
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("sub-01_", "sub-01_ses-1_"))
        link = path.name.replace("sub-01_", "sub-01_ses-2_")
        (folder / link).symlink_to(path.name.replace("sub-01_", "sub-01_ses-1_"))
    (example.root / "sub-01" / "ses-2").symlink_to("ses-1")


def alike_ids(example: Example) -> None:
    for name in ("T2w", "dseg", "desc-brain_mask"):
        example.file(name, "1").parent.mkdir(parents=True, exist_ok=True)
        example.file(name, "03").rename(example.file(name, "1"))


def two_releases(example: Example) -> None:
    shutil.rmtree(example.root)
    names = {"desc-drawem9_dseg": "CC01", "drawem_tissue_labels": "CC02"}
    for labels, subject in names.items():
        folder = example.root / f"sub-{subject}" / "ses-1" / "anat"
        for name in ("T2w", "T2w_restore", "desc-restore_T2w", labels):
            if not (subject == "CC01" and name == "T2w_restore"):
                save(folder / f"sub-{subject}_ses-1_{name}.nii.gz", head(0)[0])
    example.reader = read_dhcp


def wrong_header(example: Example) -> None:
    example.table.write_text("subject\tage\n01\t28\n")


def contradicting_rows(example: Example) -> None:
    example.table.write_text(example.table.read_text() + "02\t32\t41\n")


def extra_row(example: Example) -> None:
    example.table.write_text(example.table.read_text() + "77\t30\t41\n")


def lacking_row(example: Example) -> None:
    example.table.write_text("participant_id\tbirth_age\tscan_age\n01\t28\t41\n02\t31\t41\n")


def lacking_age(example: Example) -> None:
    example.table.write_text(example.table.read_text().replace("39\t41", "39\tn/a"))


def impossible_age(example: Example) -> None:
    example.table.write_text(example.table.read_text().replace("28\t41", "28\t287"))


def filtered(example: Example) -> None:
    example.table.write_text(example.table.read_text().replace("28\t41", "n/a\t41"))
    example.options["max_birth_age"] = 32


def nothing(example: Example) -> None:
    shutil.rmtree(example.root)


def damaged_entry(example: Example) -> None:
    def damage(store: Store) -> None:
        (path,) = (store.root / "example").glob("sub-01-*/image.b2nd")
        path.write_bytes(path.read_bytes()[:-10])

    example.prepared = damage


def too_few(example: Example) -> None:
    example.options["max_subjects"] = 2
    example.annotation = {"full_fraction": 0.5, "protocol": {"name": "brain", "merge": ["TCV"]}}


def needless_exclusion(example: Example) -> None:
    example.options["exclude"] = ["sub-1"]


EXAMPLES: dict[str, Callable[[Example], None]] = {
    "missing-file": link_to_nothing,
    "unreadable-file": forbid,
    "empty-file": empty,
    "not-nifti": text,
    "truncated-file": cut,
    "damaged-gzip": flip_checksum,
    "outside-root": link_outside,
    "dimensions": four_axes,
    "trailing-axis": trailing_axis,
    "no-numbers": complex_numbers,
    "not-finite": not_finite,
    "constant-image": constant,
    "outlying-voxels": outlying,
    "far-border": far_border,
    "ct-brightness": computed,
    "few-values": label_map_as_image,
    "cropped-labels": cropped_labels,
    "singular-affine": singular,
    "absent-affine": no_affine,
    "voxel-size": metres,
    "header-forms": two_places,
    "header-sizes": unit_of_metres,
    "header-type": other_bits,
    "trailing-bytes": fewer_planes,
    "mixed-voxel-sizes": thick_slices,
    "grid-shape": other_shape,
    "grid-affine": mirrored,
    "mask": mask_shape,
    "duplicate-image": one_image_twice,
    "duplicate-labels": one_label_map_twice,
    "label-values": odd_value,
    "label-fractions": fractions,
    "label-rounding": rounded,
    "label-scaling": scaled,
    "empty-labels": no_structure,
    "untold-labels": nothing_told,
    "leaf-never-shown": never_shown,
    "leaf-never-tested": never_tested,
    "structure-not-drawn": not_drawn,
    "sparse-planes": every_third_plane,
    "no-integer": no_integer,
    "full-but-coarse": outlines,
    "unpaired-sides": two_sides,
    "exchanged-sides": exchanged_in_one,
    "other-integers": other_integers_in_one,
    "class-never-annotated": never_annotated,
    "contradicted-annotation": more_than_described,
    "label-meaning": unknown_name,
    "label-tables": other_names,
    "guessed-meaning": no_names,
    "no-labels": no_labels,
    "missing-image": no_image,
    "several-files": two_labels,
    "mixed-derivatives": two_kinds,
    "other-space": labels_in_a_template,
    "foreign-file": stray,
    "no-images": no_images,
    "duplicate-scan": linked_twice,
    "alike-ids": alike_ids,
    "mixed-releases": two_releases,
    "bad-table": wrong_header,
    "duplicate-row": contradicting_rows,
    "row-without-files": extra_row,
    "files-without-row": lacking_row,
    "missing-age": lacking_age,
    "impossible-age": impossible_age,
    "left-out": filtered,
    "no-scans": nothing,
    "damaged-entry": damaged_entry,
    "plan": too_few,
    "setting": needless_exclusion,
}
"""What breaks a whole cohort so that a problem of each kind is found."""
