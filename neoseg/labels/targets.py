"""Targets: encode a label volume as codes, given the protocol of its annotation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neoseg.labels.codebook import Codebook
from neoseg.labels.convention import Convention, unnamed, with_background
from neoseg.labels.protocol import Protocol, hide_slices
from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError

if TYPE_CHECKING:
    import torch

    Volume = TypeVar("Volume", np.ndarray[Any, Any], torch.Tensor)


class Targets:
    """The codebook of all label sets of the given protocols; encodes label volumes with it.

    >>> targets = Targets(space, [{"name": "coarse", "merge": ["TCV"]}])
    >>> codes = targets.encode(labels, "coarse")  # of the same shape, uint8
    >>> loss = Objective({"iuc": {}}, targets.codebook, "multilabel")(logits, codes)

    Args:
        space: the label space.
        protocols: of the annotations, as `Protocol` or as in `conf/annotation`: `{name, merge,
            missing, slices, unlabelled}`. "full" and "unlabelled" are always available.
        convention: meaning of the integers in volumes whose protocol has no convention of its own;
            None if they are the indices of the label table's leaves.

    Raises:
        LabelError: an invalid protocol, two protocols of one name, or more label sets than fit into
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
        custom = [
            p if isinstance(p, Protocol) else Protocol.parse(space, dict(p)) for p in protocols
        ]
        built_in = [Protocol.full(space), Protocol.unlabelled(space)]
        names = [protocol.name for protocol in (*built_in, *custom)]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise LabelError(f"several protocols are called {', '.join(duplicates)}; rename them")
        self.protocols = {protocol.name: protocol for protocol in (*built_in, *custom)}
        self.codebook = Codebook.build(
            space,
            (s for protocol in self.protocols.values() for s in self._resolve(protocol)[1]),
        )

    def encode(
        self,
        labels: Volume,
        protocol: str | Sequence[str] = "full",
        slice_seed: Sequence[int] = (0,),
    ) -> Volume:
        """Return uint8 codes of the shape of `labels`, for a tensor on its device.

        Args:
            labels: integers of a label file, `[*S]`; with several protocols `[B, *S]`.
            protocol: name of the protocol, or one name for each item of the batch.
            slice_seed: seed for the slices of a protocol with random slices.

        Raises:
            LabelError: values that the convention lacks, an unknown protocol, a number of protocols
                other than that of items, or a volume without voxels.
        """
        if isinstance(labels, np.ndarray):
            array = labels
        else:
            tensor = labels.detach().cpu()
            array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
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
        convention, sets = self._resolve(protocol)
        lookup = self.codebook.lookup(sets)
        codes: np.ndarray[Any, Any] = lookup[convention.encode(labels, "the label volume")]
        if protocol.slices is not None:
            if codes.ndim != 3:
                raise LabelError(
                    f"protocol '{name}' annotates slices of volumes [X, Y, Z], found "
                    f"{list(codes.shape)}"
                )
            axis = protocol.slice_axis
            annotated = protocol.slices_of(codes, self.codebook, slice_seed)
            hide_slices(codes, annotated, axis)
        return codes

    def _resolve(self, protocol: Protocol) -> tuple[Convention, Sequence[LabelSet]]:
        """Return the convention of volumes under a protocol, and the label set of each value."""
        convention = protocol.convention or self.convention
        shown = tuple(map(protocol.apply, convention.sets))
        undrawn = unnamed(self.space, shown if protocol.describes else convention.sets)
        return convention, with_background(self.space, shown, undrawn)
