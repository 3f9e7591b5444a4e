"""Label sets of a scan: a class for each voxel, written next to its label map."""

from pathlib import Path

import nibabel as nib
import numpy as np
from torch import Tensor

from neoseg.files import replacing
from neoseg.inference.blending import Region
from neoseg.inference.dataset import keep_table, tables_locked
from neoseg.inference.derivative import derivative_path, image_like, open_source, require_inside
from neoseg.labels.convention import file_integers
from neoseg.store import Geometry, to_native
from neoseg.trust.calibration import Limits
from neoseg.trust.chain import Chains

DESC = "neosegsets"


class SetMap:
    """A `Watch` that assigns each voxel the smallest class of its chain within allowed doubt."""

    def __init__(self, chains: Chains, limits: Limits) -> None:
        self._chains = chains
        members = chains.members[chains.places]  # [K, D, K]
        enters = members[:, 1:] & ~members[:, :-1]
        step_limits = np.where(enters, limits.doubts, np.inf).min(axis=2)
        self._limits = step_limits  # [K, D - 1]: below which the answer may stay at a step
        self._geometry: Geometry | None = None
        self._answers: np.ndarray | None = None

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Assign the answers of a region."""
        if self._answers is None:
            no_doubt = np.zeros((self._chains.places.shape[1], 1), dtype=np.float32)
            background = np.array([self._chains.space.background])
            fill = int(self.answers(background, no_doubt)[0])
            self._answers = np.full(geometry.canonical_shape, fill, dtype=np.uint16)
            self._geometry = geometry
        leaves, doubts = self._chains.doubts(probabilities.flatten(1))
        shape = self._answers[region].shape
        self._answers[region] = self.answers(leaves, doubts).reshape(shape)

    def answers(self, leaves: np.ndarray, doubts: np.ndarray) -> np.ndarray:
        """Return indices of answers `[N]` for decisions `[N]` and doubts `[D, N]`."""
        step = np.zeros(len(leaves), dtype=int)
        for index in range(len(doubts) - 1):
            widened = doubts[index].astype(np.float64) > self._limits[leaves, index]
            step[widened] = index + 1
        answers: np.ndarray = self._chains.places[leaves, step]
        return answers

    @property
    def native(self) -> np.ndarray:
        """Indices of answers on the grid of the file."""
        assert self._answers is not None
        assert self._geometry is not None
        return to_native(self._answers, self._geometry)


def set_paths(output: Path, source: Path) -> tuple[Path, Path]:
    """Return the paths of the class map and the depth map."""
    plain = derivative_path(output, source)
    stem = plain.name.removesuffix("_desc-neoseg_dseg.nii.gz")
    names = f"{stem}_desc-{DESC}_dseg.nii.gz", f"{stem}_stat-depth_desc-{DESC}_statmap.nii.gz"
    return plain.with_name(names[0]), plain.with_name(names[1])


def write_sets(output: Path, source: Path, answers: np.ndarray, chains: Chains) -> None:
    """Write class map and depth map of a scan on the grid of `source`, and the table of classes.

    Leaves keep their index in label maps; the other classes are numbered after the largest of
    these. A class without a colour in the label table gets the mean colour of its leaves.

    Args:
        output: root of the derivative data set.
        source: the file that was segmented.
        answers: indices into `chains.answers` on the grid of `source`.
        chains: provides the names of the answers.

    Raises:
        DerivativeError: if the folder has a table of other classes.
    """
    classes, depth = set_paths(output, source)
    require_inside(output, classes, source)
    image = open_source(source)
    leaves = chains.space.leaves
    next_index = max(leaf.index for leaf in leaves) + 1
    extra = range(next_index, next_index + len(chains.answers) - len(leaves))
    indices = file_integers([*(leaf.index for leaf in leaves), *extra])
    rows = [
        (str(index), entry.name, entry.abbreviation, _colour(chains, number))
        for number, (index, entry) in enumerate(zip(indices.tolist(), chains.answers, strict=True))
    ]
    output.mkdir(parents=True, exist_ok=True)
    with tables_locked(output):
        keep_table(output / f"desc-{DESC}_dseg.tsv", rows, chains.space)
    steps = np.rint(chains.depth * 100).astype(np.uint8)
    for path, values, step in ((depth, steps, 0.01), (classes, indices, 1.0)):
        with replacing(path) as temporary:
            nib.save(image_like(image, values[answers], step), temporary)


def _colour(chains: Chains, number: int) -> str:
    entry = chains.answers[number]
    if entry.color.casefold() != "#ffffff" or number < chains.space.num_leaves:
        return entry.color
    texts = [chains.space.leaves[leaf].color for leaf in sorted(entry.leaves)]
    values = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in texts])
    return "#" + "".join(f"{value:02x}" for value in values.mean(axis=0).round().astype(int))
