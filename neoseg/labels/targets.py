"""Targets: a label volume and the protocol of its annotation become codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neoseg.labels.codebook import Codebook
from neoseg.labels.convention import Convention
from neoseg.labels.protocol import Protocol, hide_slices
from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError

if TYPE_CHECKING:
    import torch

    Volume = TypeVar("Volume", np.ndarray[Any, Any], torch.Tensor)


class Targets:
    """Owns the codebook of all that its protocols can tell, and encodes label volumes with it.

    >>> targets = Targets(space, [{"name": "coarse", "merge": ["TCV"]}])
    >>> codes = targets.encode(labels, "coarse")  # of the same shape, uint8
    >>> loss = Objective({"iuc": {}}, targets.codebook, "multilabel")(logits, codes)

    Args:
        space: the label space.
        protocols: that volumes are annotated by, as `Protocol` or as in `conf/annotation`:
            `{name, merge, missing, slices, unlabelled}`. "full" and "unlabelled" are always there.
        convention: what the integers of the volumes mean, where their protocol has no convention
            of its own; None: they are the indices of the label table's leaves.

    Raises:
        LabelError: a protocol that cannot be, two of one name, or label sets that do not fit into
            a byte.
    """

    def __init__(
        self,
        space: LabelSpace,
        protocols: Iterable[Protocol | Mapping[str, Any]] = (),
        convention: Convention | None = None,
    ) -> None:
        self.space = space
        self.convention = convention or Convention.identity(space)
        own = [p if isinstance(p, Protocol) else Protocol.parse(space, dict(p)) for p in protocols]
        always = [Protocol.full(space), Protocol.unlabelled(space)]
        names = [protocol.name for protocol in (*always, *own)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LabelError(f"several protocols are called {', '.join(twice)}; rename them")
        self.protocols = {protocol.name: protocol for protocol in (*always, *own)}
        self.codebook = Codebook.build(
            space, (s for protocol in self.protocols.values() for s in self._told(protocol)[1])
        )

    def encode(
        self,
        labels: Volume,
        protocol: str | Sequence[str] = "full",
        slice_seed: Sequence[int] = (0,),
    ) -> Volume:
        """Return codes, uint8 of the shape of `labels`; a tensor stays on its device.

        Args:
            labels: integers of a label file, `[*S]`; with several protocols `[B, *S]`.
            protocol: name of the protocol, or one name for each item of the batch.
            slice_seed: of the slices that a protocol with random slices annotates.

        Raises:
            LabelError: values that the convention lacks, a protocol that is not among them, or a
                volume without voxels.
        """
        if isinstance(labels, np.ndarray):
            array = labels
        else:
            given = labels.detach().cpu()
            array = (given.float() if given.is_floating_point() else given).numpy()
        if not array.size:
            raise LabelError(f"the label volume is empty: {list(array.shape)}")
        if isinstance(protocol, str):
            codes = self._encode(array, protocol, slice_seed)
        elif len(protocol) != len(array):
            raise LabelError(f"{len(protocol)} protocols were given for {len(array)} items")
        else:
            pairs = zip(array, protocol, strict=True)
            codes = np.stack([self._encode(item, name, slice_seed) for item, name in pairs])
        if isinstance(labels, np.ndarray):
            return codes
        import torch

        return torch.from_numpy(codes).to(labels.device)

    def _encode(
        self, labels: np.ndarray[Any, Any], name: str, slice_seed: Sequence[int]
    ) -> np.ndarray[Any, Any]:
        if name not in self.protocols:
            raise LabelError(
                f"there is no protocol '{name}'; it can be {', '.join(self.protocols)}"
            )
        protocol = self.protocols[name]
        meaning, told = self._told(protocol)
        lookup = self.codebook.lookup(told)
        codes: np.ndarray[Any, Any] = lookup[meaning.encode(labels, "the label volume")]
        if protocol.slices is not None:
            if codes.ndim != 3:
                raise LabelError(
                    f"protocol '{name}' annotates slices of volumes [X, Y, Z], found "
                    f"{list(codes.shape)}"
                )
            axis = protocol.slice_axis
            shown = protocol.slices_of(codes, self.codebook, slice_seed)
            hide_slices(codes, shown, axis)
        return codes

    def _told(self, protocol: Protocol) -> tuple[Convention, list[LabelSet]]:
        """Return what volumes under a protocol hold, and what it tells of each of their values."""
        meaning = protocol.convention or self.convention
        return meaning, [protocol.apply(known) for known in meaning.sets]
