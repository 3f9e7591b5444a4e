"""Segment one scan after the other, with everything that is written about each."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neoseg.cohort.formats import ending_of
from neoseg.inference.beside import Beside
from neoseg.inference.dataset import DerivativeError, Provenance, require_utf8
from neoseg.inference.derivative import derivative_path, write_derivative
from neoseg.inference.ensemble import Ensemble
from neoseg.inference.image_names import ScanFiles
from neoseg.inference.origin import Known, Origin, note_of
from neoseg.inference.overlay import write_overlay
from neoseg.inference.probability import probability_paths, write_probabilities
from neoseg.inference.segmenter import Segmenter
from neoseg.labels import Codebook, LabelSpace
from neoseg.trust.promises import Promises, ScanPromises


@dataclass(frozen=True)
class PredictionJob:
    """The segmentation of each scan, and the files written for it.

    Attributes:
        segmenter: a network or several.
        output: root of the derivative data set.
        provenance: recorded in it.
        classes: positions of the classes of which probabilities are written.
        picture: whether to draw one of each scan.
        origin: of the predictions.
        promises: label sets and expected scores to write; None for none.
    """

    segmenter: Segmenter | Ensemble
    output: Path
    provenance: Provenance
    classes: list[int]
    picture: bool
    origin: Origin
    promises: Promises | None

    @property
    def space(self) -> LabelSpace:
        """What is segmented."""
        return self.segmenter.head.space

    def look(self, scan: ScanFiles, target: Path) -> Known:
        """Return the state of the requested outputs of a scan; see `Origin.look`."""
        state = self.origin.look(target, [*scan.images, scan.mask])
        is_incomplete = state == "same" and not self._beside(scan, target).has(self._wanted(scan))
        return "absent" if is_incomplete else state

    def run(self, scan: ScanFiles, note: str | None) -> None:
        """Segment a scan and write its outputs, the label map last, which marks it as done.

        Args:
            scan: its files.
            note: digest of the sidecar of its label map when the command looked, see `note_of`.

        Raises:
            DerivativeError: meanwhile the label map was made by a process that segments otherwise.
        """
        output, space = self.output, self.space
        require_utf8(scan.source)
        watch = None if self.promises is None else ScanPromises(self.promises)
        segmentation = self.segmenter.segment(
            scan.images, classes=self.classes, scratch=output, mask=scan.mask, watch=watch
        )
        target, files = derivative_path(output, scan.source), [*scan.images, scan.mask]
        if note_of(target) != note and self.origin.clashes(target, files):
            raise DerivativeError(
                f"{target} was made meanwhile by another process, for another run or scan, or with "
                "other settings; choose another output folder"
            )
        beside, wanted = self._beside(scan, target), self._wanted(scan)
        if self.picture:
            name = target.name.removesuffix(ending_of(target.name))
            picture = output / "pictures" / f"{name}.png"
            wanted[picture.relative_to(output).as_posix()] = ""
        kept = beside.clear(wanted)
        if watch is not None:
            watch.write(output, scan.source, segmentation)
        if segmentation.probabilities is not None:
            write_probabilities(
                output, scan.source, segmentation.probabilities, space, self.provenance
            )
        if self.picture:
            write_overlay(
                picture,
                segmentation.image,
                segmentation.prepared_leaves,
                None,
                Codebook.build(space),
                segmentation.geometry.spacing,
                scan=name,
                window=segmentation.prepare.shown,
            )
        keep = partial(self.origin.keep, target, files, beside.listed(kept, wanted))
        written = (scan.source, segmentation.native, space, self.provenance)
        write_derivative(output, *written, ready=keep)
        keep()

    def _beside(self, scan: ScanFiles, target: Path) -> Beside:
        return Beside(self.output, target, self.origin.digest([*scan.images, scan.mask]))

    def _wanted(self, scan: ScanFiles) -> dict[str, str]:
        """Return the requested outputs beside the label map, and what they are made from."""
        maps = probability_paths(self.output, scan.source, self.space, self.classes)
        wanted = dict.fromkeys((path.relative_to(self.output).as_posix() for path in maps), "")
        if self.promises is not None:
            wanted |= self.promises.wanted(self.output, scan.source)
        return wanted
