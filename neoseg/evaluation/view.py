"""Small copies of scored scans in the run folder: image, truth and prediction for the viewer."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neoseg.files import replacing
from neoseg.foreign import json_of
from neoseg.foreign.packed import read_arrays
from neoseg.inference.planes import box_of, colours_of, grey_in, grey_window, labelled_in
from neoseg.labels import MAX_CODES, Codebook
from neoseg.labels.table import HEX_COLOUR
from neoseg.store.foreground import crop_box

VIEWS = "views"
"""Folder of the views in a run folder; each file is named by the id of its scan."""

_LONGEST = 160
"""Maximum voxels along an axis; larger grids are subsampled by a whole number."""

MAX_BYTES = 2**25
"""Maximum size of a view."""

MAX_VOXEL_MM = 1000.0
"""Maximum voxel size."""

_LAYERS = ("image", "truth", "prediction", "wrong")


@dataclass(frozen=True)
class View:
    """A scan cropped to the anatomy, in canonical (RAS+) axes; all arrays are uint8 `[X, Y, Z]`.

    Attributes:
        scan: `sub-X_ses-Y`.
        spacing: voxel size, mm.
        image: grey values.
        truth, prediction: indices into `names` and `colours`; 0 is background and never painted.
        wrong: 1 where the truth excludes the predicted structure.
        names, colours: name and colour ("#rrggbb") of each index, background included.
        files: digest of the image and label files; "" in views of earlier versions.
    """

    scan: str
    spacing: tuple[float, float, float]
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    wrong: np.ndarray
    names: tuple[str, ...]
    colours: tuple[str, ...]
    files: str = ""

    @property
    def labelled(self) -> list[tuple[int, int]]:
        """First slice with labelled truth, and that after the last, by axis; all if none has."""
        return crop_box(self.truth > 0, np.eye(4), margin=0.0)


def make_view(
    scan: str,
    image: np.ndarray,
    truth_codes: np.ndarray,
    prediction: np.ndarray,
    codebook: Codebook,
    spacing: Sequence[float],
    window: tuple[float, float] | None = None,
) -> View:
    """Crop a scan to its labelled voxels with a margin of 8 mm, and subsample fine grids.

    The crop depends on the truth alone, so views of one scan from several runs match.

    Args:
        scan: id of the scan.
        image: `[X, Y, Z]` in canonical axes, any units.
        truth_codes: uint8 rows of `codebook`, same shape.
        prediction: uint8 leaf positions, same shape.
        codebook: provides names, colours and the leaves that each code allows.
        spacing: voxel size in mm.
        window: intensities shown as black and white; None: 0.5 and 99.5 % of those of the crop.

    Raises:
        ValueError: if the shapes differ.
    """
    if not image.shape == truth_codes.shape == prediction.shape:
        raise ValueError(
            f"image {image.shape}, truth {truth_codes.shape} and prediction {prediction.shape} "
            "must be volumes of one shape"
        )
    box = box_of(labelled_in(truth_codes, codebook.space.background + 1), spacing)
    step = [-(-(part.stop - part.start) // _LONGEST) for part in box]
    centres = tuple(slice(n // 2, None, n) for n in step)
    number_of, names, colours = _palette(codebook)
    truth, leaves = truth_codes[box], prediction[box]
    wrong = ~codebook.rows[truth[centres], leaves[centres]]
    grey = _means(image[box].astype(np.float32), step, wrong.shape)
    scaled = grey_in(grey, window or grey_window(grey)) * 255
    x, y, z = (float(size) * count for size, count in zip(spacing, step, strict=True))
    return View(
        scan=scan,
        spacing=(x, y, z),
        image=np.round(scaled).astype(np.uint8),
        truth=number_of[truth[centres]],
        # A predicted leaf has the colour of the code that holds this leaf alone.
        prediction=number_of[leaves[centres] + 1],
        wrong=wrong.astype(np.uint8),
        names=names,
        colours=colours,
    )


def write_view(folder: Path, view: View) -> Path:
    """Write `<folder>/<scan>.npz` atomically; return its path."""
    path = folder / f"{view.scan}.npz"
    about = {"scan": view.scan, "spacing": view.spacing, "names": view.names}
    about |= {"colours": view.colours, "files": view.files}
    arrays = {name: getattr(view, name) for name in _LAYERS}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, about=np.array(json.dumps(about)), **arrays)
    return path


def read_view(path: Path, within: Path | None = None) -> View:
    """Read a view without unpickling; `within` is the run folder, which no link may leave.

    Raises:
        ValueError: if the file is damaged or not a view; the message names it.
    """
    try:
        content = read_arrays(path, MAX_BYTES, within)
        about = json_of(str(content["about"]), str(path))
        view = View(
            scan=str(about["scan"]),
            spacing=tuple(map(float, about["spacing"])),  # type: ignore[arg-type]
            names=tuple(map(str, about["names"])),
            colours=tuple(map(str, about["colours"])),
            files=str(about.get("files", "")),
            **{name: content[name] for name in _LAYERS},
        )
        _require_sound(view)
        return view
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a view of this version ({error}); evaluate the run again"
        ) from None


def _require_sound(view: View) -> None:
    """Raise `ValueError` for a view that `make_view` cannot have made."""
    layers = [getattr(view, name) for name in _LAYERS]
    shape, count = view.image.shape, len(view.colours)
    if any(layer.dtype != np.uint8 or layer.shape != shape for layer in layers):
        raise ValueError("its layers differ in shape or type")
    if len(shape) != 3 or not 1 <= min(shape) <= max(shape) <= _LONGEST:
        raise ValueError(f"its shape is {shape}")
    if len(view.spacing) != 3 or not all(0 < size < MAX_VOXEL_MM for size in view.spacing):
        raise ValueError(f"its voxels have {view.spacing} mm")
    if not 0 < count == len(view.names) <= MAX_CODES:
        raise ValueError(f"it has {len(view.names)} names and {count} colours")
    if not all(re.fullmatch(HEX_COLOUR, colour) for colour in view.colours):
        raise ValueError("its colours are none")
    if max(int(view.truth.max()), int(view.prediction.max())) >= count or view.wrong.max() > 1:
        raise ValueError("its layers have numbers without a name")


def _palette(codebook: Codebook) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the index of each code, and names and colours by index, background first."""
    background = codebook.space.background + 1
    order = [background, *(code for code in range(codebook.size) if code != background)]
    number_of = np.zeros(codebook.size, dtype=np.uint8)
    number_of[order] = np.arange(codebook.size)
    colours = colours_of(codebook)
    names, painted = codebook.names, (colours[code] for code in order)
    return number_of, tuple(names[code] for code in order), tuple(painted)


def _means(volume: np.ndarray, step: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Average blocks of `step` voxels; the last block may be smaller."""
    for axis, (size, count) in enumerate(zip(step, shape, strict=True)):
        if size == 1:
            continue
        # A remainder too small to contain a sampled voxel joins the last block.
        starts = np.arange(count) * size
        ends = np.append(starts[1:], volume.shape[axis])
        sums = np.add.reduceat(volume, starts, axis=axis)
        weight = (ends - starts).reshape([-1 if a == axis else 1 for a in range(3)])
        volume = sums / weight
    return volume
