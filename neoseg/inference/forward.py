"""The network as the sliding window uses it: what it gives for windows, ready to be blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from neoseg.inference.channels_last import channels_last, replaced_forward
from neoseg.inference.projection import Projection, find_last_layer
from neoseg.networks import Head
from neoseg.networks.outputs import heads_of

LEFT_RIGHT = 2
"""Dimension of a batch `[B, M, X, Y, Z]` along which left and right lie (canonical RAS+)."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class WindowForward:
    """Values of windows that are linear in the logits, and the logits of blended values.

    The values are the logits themselves, or the features before the network's last layer where
    these are fewer. Which, shows with the first windows.

    Args:
        network: maps `[B, M, X, Y, Z]` to logits, or to a list of them, highest resolution first.
        head: says how many logits there are.
        partners: the channel that each channel becomes in the mirror image; None: no mirroring.
        precision: of the forward pass.
        device: of the network.
        place: where values are blended.
        stack: undoes at its end what is changed on the network for the time being.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        head: Head,
        partners: Sequence[int] | None,
        precision: str,
        device: torch.device,
        place: torch.device,
        stack: ExitStack,
    ) -> None:
        self.network = network
        self.head = head
        self.partners = None if partners is None else list(partners)
        self.precision = _DTYPES[precision]
        self.device = device
        self.place = place
        self.format = torch.contiguous_format
        if self.precision == torch.float32:
            self.format = stack.enter_context(channels_last(network, device))
        self._stack = stack
        self._projection: Projection | None = None
        self._traced = False

    def __call__(self, windows: Tensor) -> Tensor:
        """Return values `[B, C, X, Y, Z]` of windows `[B, M, X, Y, Z]`.

        Raises:
            ValueError: where the network's channels are not the head's.
        """
        windows = windows.to(self.device)
        values = self._run(windows) if self._traced else self._first(windows)
        if self.partners is None:
            return values
        mirrored = self._run(windows.flip(LEFT_RIGHT)).flip(LEFT_RIGHT)
        if self._projection is not None:
            return torch.cat([values, mirrored], dim=1)
        return (values + mirrored[:, self.partners]) / 2

    def logits(self, values: Tensor) -> Tensor:
        """Return logits `[N, *S]` of blended values `[C, *S]`."""
        return values if self._projection is None else self._projection(values)

    def _first(self, windows: Tensor) -> Tensor:
        """Run the network for the first time, and see whether its last layer can wait."""
        logits, layer, features = find_last_layer(
            self.network, lambda: self._output(windows), self.head.channels
        )
        self._traced = True
        if logits.shape[1] != self.head.channels:
            raise ValueError(
                f"the network gives {logits.shape[1]} channels, the {self.head.name} head of table "
                f"'{self.head.space.name}' expects {self.head.channels}; they belong to different "
                "runs"
            )
        if layer is None or features is None:
            return logits.float()
        if features.shape[1] * (1 if self.partners is None else 2) >= self.head.channels:
            return logits.float()
        self._projection = Projection.of(layer, self.partners, self.place)
        self._stack.enter_context(replaced_forward(layer, _same))
        return features.float()

    def _run(self, windows: Tensor) -> Tensor:
        return self._output(windows).float()

    def _output(self, windows: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type,
            dtype=None if self.precision == torch.float32 else self.precision,
            enabled=self.precision != torch.float32,
        ):
            output = self.network(windows.contiguous(memory_format=self.format))
        first = output[:1] if isinstance(output, list | tuple) else output  # the finest alone
        return heads_of(self.network, first, windows)[0]


def mirror_partners(head: Head, patch_size: Sequence[int]) -> tuple[int, ...]:
    """Return the channel that each channel of a head becomes in the left-right mirror image.

    Raises:
        ValueError: for a head without such pairs, or sagittal slices.
    """
    if patch_size[0] == 1:
        raise ValueError(
            "a sagittal slice looks the same after a left-right flip, so mirroring cannot help "
            "and would mix left with right; set mirror to false"
        )
    known = {"multilabel": head.space.class_mirror, "softmax": head.space.mirror}
    if head.name not in known or len(known[head.name]) != head.channels:
        raise ValueError(
            f"mirroring knows the heads {', '.join(known)}, found '{head.name}' with "
            f"{head.channels} channels; set mirror to false"
        )
    return known[head.name]


def _same(features: Tensor) -> Tensor:
    return features
