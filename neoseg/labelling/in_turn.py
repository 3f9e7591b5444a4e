"""Several labellers, each of which works on what the one before left open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from neoseg.labelling.pseudo import Labeller
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import PseudoLabels
from neoseg.patches.volumes import VolumeSample
from neoseg.processes import one_thread


@dataclass(frozen=True)
class InTurn(Labeller):
    """Refines annotations by several labellers, each inside what the one before left open.

    Attributes:
        labellers: in order, all with the same codebook.
        device: on which they compute.
    """

    labellers: tuple[Labeller, ...]
    device: torch.device

    def count_processes(self, scans: Sequence[TrainingScan]) -> int:
        """Return how many processes should label these scans: as many as the last labeller wants.

        In a process for a scan, all labellers work on one thread.
        """
        return self.labellers[-1].count_processes(scans)

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the labels of the last; where one before decided on a leaf, of the first such.

        On a CPU one thread computes them, so that they do not depend on the number of processes.
        """
        with one_thread(self.device):
            return self._predict(sample)

    def _predict(self, sample: VolumeSample) -> PseudoLabels:
        single = self.codebook.rows.sum(1) == 1
        done = self.labellers[0].predict(sample)
        for labeller in self.labellers[1:]:
            left = labeller.predict(replace(sample, codes=torch.from_numpy(done.codes)))
            decided = single[done.codes]
            done = PseudoLabels(
                np.where(decided, done.leaves, left.leaves),
                np.where(decided, done.confidence, left.confidence),
                left.codes,
                "; ".join(filter(None, (done.note, left.note))),
            )
        return done
