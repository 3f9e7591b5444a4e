"""Write segmentations as BIDS derivatives on the grid of the input file."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from neoseg.cohort.formats import ENDINGS, ending_of, stem_of
from neoseg.cohort.freesurfer import is_in_subject
from neoseg.files import replacing
from neoseg.inference.dataset import (
    DESC,
    DerivativeError,
    Provenance,
    describe,
    record_volumes,
    tables_locked,
)
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import file_integers
from neoseg.store.headers import SIZE_TOLERANCE, check_forms
from neoseg.store.nifti import HEADER_ERRORS, open_image
from neoseg.store.volume import read_volume

_BIDS_NAME = re.compile(
    r"sub-(?P<subject>[0-9A-Za-z]+)(_ses-(?P<session>[0-9A-Za-z]+))?"
    r"(?P<entities>(_[0-9A-Za-z]+-[0-9A-Za-z+]+)*)_(?=[0-9]*[A-Za-z])[0-9A-Za-z]+(_restore)?"
)
_GRID = (
    *("sform_code", "srow_x", "srow_y", "srow_z", "qform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""Header fields that define voxel positions, except the sizes in `pixdim`."""


def derivative_path(output: Path, source: Path, scan: str = "") -> Path:
    """Return the path of the label file for an input file, by its name or that of its scan.

    `sub-X_ses-Y_desc-restore_T2w.nii.gz` becomes
    `<output>/sub-X/ses-Y/anat/sub-X_ses-Y_desc-neoseg_dseg.nii.gz`: an existing `desc` and the
    suffix are dropped (also `T2w_restore` of the dHCP's first release), other entities are kept. A
    name that is not BIDS is kept as a whole, as in `<output>/scan12_desc-neoseg_dseg.nii.gz`; in
    FreeSurfer's `<subject>/mri` it is prefixed by the subject. `scan` (`sub-X_ses-Y`) is used
    instead if the file name does not start with it, or is not BIDS where the id is.

    Raises:
        DerivativeError: the name does not have the ending of a volume.
    """
    if source.name in ("", ending_of(source.name)) or not ending_of(source.name):
        endings = ", ".join(ENDINGS)
        raise DerivativeError(f"{source} is not named like a volume, expected NAME and {endings}")
    stem = stem_of(source)
    if is_in_subject(source):
        stem = f"{source.parent.parent.name}_{stem}"
    # The id of a scan can itself look like a name of another subject: sub-lab_A.
    is_named = not scan or stem.startswith(f"{scan}_")
    names = [*([stem] if is_named else []), *([f"{scan}_image"] if scan else [])]
    match = next(filter(None, map(_BIDS_NAME.fullmatch, names)), None)
    if match is None:
        return output / f"{stem if is_named else scan}_desc-{DESC}_dseg.nii.gz"
    subject, session = f"sub-{match['subject']}", match["session"]
    folder = output / subject / (f"ses-{session}" if session else "") / "anat"
    entities = [e for e in match["entities"].split("_") if e and not e.startswith("desc-")]
    name = "_".join([subject, *([f"ses-{session}"] if session else []), *entities])
    return folder / f"{name}_desc-{DESC}_dseg.nii.gz"


def plan_derivatives(output: Path, sources: Iterable[Path]) -> dict[Path, Path]:
    """Map each input of a batch to its label file.

    Raises:
        DerivativeError: inputs would share a label file; lists every such pair.
    """
    plan = {source: derivative_path(output, source) for source in sources}
    first: dict[Path, Path] = {}
    clashes = []
    for source, target in plan.items():
        if target in first:
            clashes.append(f"  {first[target]} and {source} -> {target}")
        first.setdefault(target, source)
    if clashes:
        raise DerivativeError(
            "several inputs would be written to one file; name an output folder of its own for "
            "each:\n" + "\n".join(clashes)
        )
    return plan


def write_derivative(
    output: Path,
    source: Path,
    labels: np.ndarray,
    space: LabelSpace,
    provenance: Provenance,
    scan: str = "",
    ready: Callable[[Path], None] | None = None,
) -> Path:
    """Write one segmentation and update the tables of the output folder.

    Args:
        output: root of the derivative data set; created if missing.
        source: the file that was segmented; only its grid is copied.
        labels: leaf positions on the grid of `source`, axes as in the file.
        space: defines the indices, names and colours.
        provenance: recorded in `dataset_description.json`.
        scan: id of the scan of `source`, if known; see `derivative_path`.
        ready: called with the written file before it is moved into its place.

    Returns:
        The path of the label file (uint8; uint16 or int32 where an index needs it).

    Raises:
        DerivativeError: wrong shape, values that are no leaf positions, a folder that belongs to
            another data set or label table, or a target outside `output`.
    """
    target = derivative_path(output, source, scan)
    require_inside(output, target, source)
    image = open_source(source)
    labels = _checked(labels, image, source, space)
    output.mkdir(parents=True, exist_ok=True)
    with tables_locked(output):
        describe(output, space, provenance)
        # The label file is moved into place last: its presence means that the scan is done.
        with replacing(target) as temporary:
            _write_labels(temporary, labels, image, space)
            counts, voxel_ml = _count_voxels(labels, image, space)
            record_volumes(output, target, counts, voxel_ml, space)
            if ready is not None:
                ready(temporary)
    return target


def count_again(output: Path, target: Path, space: LabelSpace) -> None:
    """Update the table of volumes after a label file was edited.

    Raises:
        DataError: the file cannot be read.
        LabelError: it has values outside the label table.
    """
    image = open_source(target)
    convention = Convention.identity(space)
    stored = convention.encode(read_volume(target, dtype=np.int64).data, str(target))
    position = {leaf.index: number for number, leaf in enumerate(space.leaves)}
    labels = np.array([position[value] for value in convention.values])[stored]
    with tables_locked(output):
        record_volumes(output, target, *_count_voxels(labels, image, space), space)


def require_inside(output: Path, target: Path, source: Path) -> None:
    """Raise `DerivativeError` if `target` is outside `output`, or the input itself."""
    if not target.parent.resolve().is_relative_to(output.resolve()):
        raise DerivativeError(f"{target} leads out of {output} through a link; remove the link")
    if target.resolve() == source.resolve():
        raise DerivativeError(f"{source} would be overwritten by its own segmentation")


def open_source(source: Path) -> nib.Nifti1Pair:
    """Open a file for its grid, as NIfTI whatever its format; raises `DerivativeError`."""
    try:
        image = open_image(source)
        if isinstance(image, nib.Nifti1Pair):
            return image
        return nib.Nifti1Image(np.broadcast_to(np.zeros((), np.uint8), image.shape), image.affine)
    except HEADER_ERRORS as error:
        raise DerivativeError(f"{source} cannot be read: {error}") from None


def image_like(image: nib.Nifti1Pair, values: np.ndarray, step: float = 1) -> nib.Nifti1Pair:
    """Return an image of `values` on the grid of another image, NIfTI-2 if that is.

    The header is new, as description, extensions and other fields of the source may identify a
    person, and says where voxels lie by the affine alone if other fields contradict it. A `step`
    other than 1 scales the stored integers to values from 0 to 1.
    """
    cls: Any = nib.Nifti2Image if isinstance(image.header, nib.Nifti2Header) else nib.Nifti1Image
    header = cls.header_class()
    for field in _GRID:
        header[field] = image.header[field]
    header["pixdim"][:4] = image.header["pixdim"][:4]
    header.set_data_dtype(values.dtype)
    header.set_xyzt_units("mm")
    header["cal_max"] = step != 1
    new: nib.Nifti1Pair = cls(values.reshape(image.shape), image.affine, header)
    new.header.set_slope_inter(step, 0)
    sizes = voxel_sizes(image.affine)
    if not np.allclose(header["pixdim"][1:4], sizes, rtol=SIZE_TOLERANCE, atol=0):
        new.header["pixdim"][1:4] = sizes
    if check_forms(Path(), image.header, image.shape[:3]):
        new.header["qform_code"] = 0
    return new


def _checked(
    labels: np.ndarray, image: nib.Nifti1Pair, source: Path, space: LabelSpace
) -> np.ndarray:
    if labels.dtype.kind not in "ui" or labels.size != np.prod(image.shape):
        raise DerivativeError(
            f"labels are {labels.dtype} {labels.shape}, expected whole numbers on the grid of "
            f"{source}: {image.shape}"
        )
    if labels.shape != image.shape[: labels.ndim]:
        raise DerivativeError(
            f"labels have shape {labels.shape}, {source} has {image.shape}; axes must be in the "
            "order of the file"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < space.num_leaves:
        raise DerivativeError(
            f"labels hold positions {labels.min()} to {labels.max()}, the table '{space.name}' has "
            f"0 to {space.num_leaves - 1}"
        )
    return labels.reshape(image.shape)


def _write_labels(path: Path, labels: np.ndarray, image: nib.Nifti1Pair, space: LabelSpace) -> None:
    indices = file_integers([leaf.index for leaf in space.leaves])
    nib.save(image_like(image, indices[labels]), path)


def _count_voxels(
    labels: np.ndarray, image: nib.Nifti1Pair, space: LabelSpace
) -> tuple[dict[str, int], float]:
    """Return voxel counts by class without the background, and the volume of a voxel in ml."""
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    per_leaf = np.bincount(labels.ravel(), minlength=space.num_leaves)
    per_class = (space.class_leaves.astype(np.int64) @ per_leaf).tolist()
    counts = {entry.abbreviation: n for entry, n in zip(space.classes, per_class, strict=True)}
    del counts[space.leaves[space.background].abbreviation]
    return counts, voxel_ml
