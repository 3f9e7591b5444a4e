"""The forward pass of the sliding window: from windows to values that can be blended."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from neoseg.inference.channels_last import channels_last, replaced_forward
from neoseg.inference.projection import Projection, find_last_layer
from neoseg.networks import Head, NetworkError
from neoseg.networks.outputs import heads_of

LEFT_RIGHT = 2
"""Left-right dimension of a batch `[B, M, X, Y, Z]` (canonical RAS+)."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class WindowForward:
    """Computes values of windows to blend, and the logits of blended values.

    The values are the logits themselves, or the features before the network's last layer if that is
    linear and has fewer inputs than outputs. This is decided at the first call.

    Args:
        network: maps `[B, M, X, Y, Z]` to logits, or to a list of them, highest resolution first.
        head: defines the number of logits.
        partners: for each channel, its channel in the mirror image; None: no mirroring.
        precision: of the forward pass.
        device: of the network.
        place: device on which values are blended.
        stack: undoes the temporary changes of the network when it is closed.
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
            ValueError: the number of channels of the network is not that of the head.
        """
        windows = windows.to(self.device)
        values = self._run(windows) if self._traced else self._run_first(windows)
        if self.partners is None:
            return values
        mirrored = self._run(windows.flip(LEFT_RIGHT)).flip(LEFT_RIGHT)
        if self._projection is not None:
            return torch.cat([values, mirrored], dim=1)
        return (values + mirrored[:, self.partners]) / 2

    def logits(self, values: Tensor) -> Tensor:
        """Return logits `[N, *S]` of blended values `[C, *S]`."""
        return values if self._projection is None else self._projection(values)

    def _run_first(self, windows: Tensor) -> Tensor:
        """Run the network for the first time; defer its last layer to after blending if useful."""
        logits, layer, features = find_last_layer(
            self.network, lambda: self._output(windows), self.head.channels
        )
        self._traced = True
        if logits.shape[1] != self.head.channels:
            raise NetworkError(
                f"the network gives {logits.shape[1]} channels, the {self.head.name} head of table "
                f"'{self.head.space.name}' expects {self.head.channels}; they belong to different "
                "runs"
            )
        if layer is None or features is None:
            return logits.float()
        if features.shape[1] * (1 if self.partners is None else 2) >= self.head.channels:
            return logits.float()
        self._projection = Projection.of(layer, self.partners, self.place)
        self._stack.enter_context(replaced_forward(layer, _identity))
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
        # Of deep-supervision outputs, only the highest resolution is used.
        first = output[:1] if isinstance(output, list | tuple) else output
        return heads_of(self.network, first, windows)[0]


def mirror_partners(head: Head, patch_size: Sequence[int]) -> tuple[int, ...]:
    """Return for each channel of a head its channel in the left-right mirror image.

    Raises:
        ValueError: the head has no such pairs, or windows are sagittal slices.
    """
    if patch_size[0] == 1:
        raise ValueError(
            "a sagittal slice looks the same after a left-right flip, so mirroring cannot help "
            "and would mix left with right; set mirror to false"
        )
    pairs = {"multilabel": head.space.class_mirror, "softmax": head.space.mirror}
    if head.name not in pairs or len(pairs[head.name]) != head.channels:
        raise ValueError(
            f"mirroring knows the heads {', '.join(pairs)}, found '{head.name}' with "
            f"{head.channels} channels; set mirror to false"
        )
    return pairs[head.name]


def _identity(features: Tensor) -> Tensor:
    return features
