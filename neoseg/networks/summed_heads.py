"""A U-Net that sums the logits of heads at several levels."""

from typing import Any

from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn
from torch.nn.functional import interpolate


class SummedHeads(DynUNet):
    """MONAI's `DynUNet` with heads at several levels, whose logits are upsampled and summed.

    logits = head_0(x_0) + up(head_1(x_1) + up(head_2(x_2) + ...)), x_l the features of the
    decoder's level l (Kayalibay et al. 2017, arXiv 1701.03056; Isensee et al. 2018, arXiv
    1802.10508). A single head separates N classes with only as many features as the first level has
    channels; here the coarse levels can identify a structure and the fine ones locate its border.
    Worth the extra time if there are more classes than those channels.

    Args:
        summed: number of levels with a head, from the highest resolution down; at least 1.
        settings: as for `DynUNet`, without deep supervision, which the sum replaces.

    Raises:
        ValueError: no head, more heads than the decoder has levels, or deep supervision.
    """

    def __init__(self, *, summed: int = 3, **settings: Any) -> None:
        if settings.get("deep_supervision"):
            raise ValueError("summed heads learn at every level; leave deep_supervision out")
        super().__init__(**settings)
        levels = len(self.upsamples)
        if not 1 <= summed <= levels:
            raise ValueError(f"summed={summed} must be 1 to {levels}, the levels of the decoder")
        convolution = nn.Conv2d if self.spatial_dims == 2 else nn.Conv3d
        self.coarse_heads = nn.ModuleList(
            convolution(self.filters[level], self.out_channels, 1) for level in range(1, summed)
        )
        del self.skip_layers  # holds the same layers under second names

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `[B, N, *S]` for `[B, M, *S]`."""
        features = self.input_block(image)
        skips = []
        for down in [*self.downsamples, self.bottleneck]:
            skips.append(features)
            features = down(features)
        logits: Tensor | None = None
        heads = [self.output_block, *self.coarse_heads]
        for up in self.upsamples:
            features = up(features, skips.pop())
            if len(skips) < len(heads):
                level_logits = heads[len(skips)](features)
                logits = (
                    level_logits
                    if logits is None
                    else level_logits + interpolate(logits, level_logits.shape[2:])
                )
        assert logits is not None
        return logits
