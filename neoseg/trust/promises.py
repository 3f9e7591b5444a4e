"""Outputs of `predict` about a new scan besides labels: sets, expected Dice, likeness."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from neoseg.digests import digest_of_content
from neoseg.findings.settings import ConfigError
from neoseg.inference.blending import Region
from neoseg.inference.dataset import record_row, tables_locked
from neoseg.inference.derivative import derivative_path
from neoseg.inference.segmentation import Segmentation
from neoseg.store import Geometry
from neoseg.trust.agreement import SCAN, Agreement, with_mean
from neoseg.trust.calibration import ALIKE, Calibration, Limits
from neoseg.trust.chain import Chains
from neoseg.trust.sets import SetMap, set_paths, write_sets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promises:
    """The requested promises, and the calibration they are based on.

    Attributes:
        calibration: calibration of the networks that segment.
        limits: limits of label sets; None to write no sets.
        level: share of intervals that contain the true Dice; None to write no intervals.
    """

    calibration: Calibration
    limits: Limits | None
    level: float | None

    def __post_init__(self) -> None:
        """Raise `ConfigError` if there are too few calibration scans for an interval."""
        level, calibration = self.level, self.calibration
        if level is not None and calibration.predicted(SCAN, 0.5, level) is None:
            raise ConfigError(
                f"trust is {level:g}, and {calibration.scans} calibration scans are too few for "
                "such an interval; calibrate with more, or lower trust"
            )
        if level is not None and calibration.scans + 1 < 1 / ALIKE:
            log.warning(
                "with %d calibration scans no scan can be told from them: %.0f are needed",
                calibration.scans,
                1 / ALIKE - 1,
            )

    def wanted(self, output: Path, source: Path) -> dict[str, str]:
        """Return what is written of a scan, and digests of what it is made from; see `Beside`."""
        wanted = {}
        if self.limits is not None:
            sets = digest_of_content(self.limits.doubts.tolist())
            for path in set_paths(output, source):
                wanted[path.relative_to(output).as_posix()] = sets
        if self.level is not None:
            wanted["trust"] = digest_of_content([self.level, self.calibration.plain()])
        return wanted


class ScanPromises:
    """A `Watch` of one scan that afterwards writes its sets, expected Dice and likeness."""

    def __init__(self, promises: Promises) -> None:
        self._all = promises
        self._chains = Chains.of(promises.calibration.space)
        limits = promises.limits
        self._sets = None if limits is None else SetMap(self._chains, limits)
        self._agreement = Agreement(self._chains.space)

    def __call__(self, probabilities: Tensor, region: Region, geometry: Geometry) -> None:
        """Process a region."""
        if self._sets is not None:
            self._sets(probabilities, region, geometry)
        if self._all.level is not None:
            flat = probabilities.flatten(1)
            self._agreement.add(flat.float().cpu().numpy().argmax(axis=0), flat)

    def write(self, output: Path, source: Path, found: Segmentation) -> None:
        """Write the sets and the table row of a scan; warn if it is unlike the known scans.

        Raises:
            DerivativeError: if the folder has tables of other classes.
        """
        if self._sets is not None:
            write_sets(output, source, self._sets.native, self._chains)
        if self._all.level is None:
            return
        p, trait = self._all.calibration.likeness(self._agreement.appearance(found))
        if p <= ALIKE:
            log.warning(
                "%s is unlike the calibration scans (p = %.3f), most in %s: of it nothing is "
                "promised",
                source,
                p,
                trait,
            )
        values = {"alike_p": f"{p:.3g}", "least_alike_in": trait, **self._expected()}
        output.mkdir(parents=True, exist_ok=True)
        with tables_locked(output):
            target = derivative_path(output, source)
            record_row(output, target, "trust", values, self._chains.space)

    def _expected(self) -> Mapping[str, str]:
        """Return the table cells of the expected Dice and both ends of its interval."""
        calibration, space, level = self._all.calibration, self._chains.space, self._all.level
        assert level is not None
        expected = with_mean(self._agreement.expected, space)
        names = [entry.abbreviation for entry in space.classes]
        del names[space.background]
        cells = {}
        for name in (SCAN, *names):
            prediction = (
                calibration.predicted(name, expected[name], level) if name in expected else None
            )
            for index, column in enumerate(("dice", "low", "high")):
                cells[f"{name}_{column}"] = (
                    "n/a" if prediction is None else f"{prediction[index]:.3f}"
                )
        return cells
