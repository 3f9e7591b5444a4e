"""The 2D U-Net of Kucheruk et al., MLHC 2025, and a learnt input normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class InputNormalisation(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training images, per modality.

    These are not batch statistics: every image seen in training mode is merged into the running
    count, mean and variance of all images so far (Chan et al. 1979), which normalise both in
    training and in evaluation. Training and prediction thus use the same function, unlike
    `BatchNorm2d(affine=False, momentum=None)`, which normalises by the current batch in training,
    so that one slice of background would change the contrast of the others. No separate pass over
    the data is needed, the statistics settle within some hundred batches, and as buffers they are
    in the checkpoint. Before the first image the module is the identity, up to `epsilon`.

    Shapes: `[B, M, *S]` to the same.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised image, after merging it into the statistics when training."""
        if self.training:
            self._merge(image.detach().float())
        shape = (1, -1) + (1,) * (image.ndim - 2)
        scale = (self.variance + self.epsilon).rsqrt()
        return ((image - self.mean.view(shape)) * scale.view(shape)).to(image.dtype)

    @torch.no_grad()
    def _merge(self, image: Tensor) -> None:
        """Merge a batch of images into the running statistics."""
        axes = [axis for axis in range(image.ndim) if axis != 1]
        variance, mean = torch.var_mean(image, dim=axes, correction=0)
        total = self.count + image.shape[0]
        share = image.shape[0] / total
        step = mean - self.mean
        # For the first batch `share` is 1, so the initial mean and variance have no effect.
        self.variance.copy_(
            (1 - share) * self.variance + share * variance + share * (1 - share) * step.square()
        )
        self.mean.add_(share * step)
        self.count.copy_(total)


class UNet2d(nn.Module):
    """The paper's U-Net: `[B, M, Y, Z]` to logits `[B, N, Y, Z]`.

    Each level has two 3x3 convolutions with batch normalisation and ReLU; levels are connected by
    2x2 max pooling and 2x2 transposed convolutions, with concatenated skip connections and a final
    1x1 convolution. Y and Z must be multiples of 2^(levels - 1).

    With the paper's 5 levels of 16 to 256 filters, one image channel and 11 logits this has
    1 942 459 parameters; the paper reports 1.94 million. Convolutions followed by batch
    normalisation have no bias, since the normalisation cancels it; with these biases (1 472) there
    would be 1 943 931, for the same function and the same 1.94 million.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        normalise_input: bool = True,
    ) -> None:
        super().__init__()
        self.normalisation = InputNormalisation(in_channels) if normalise_input else nn.Identity()
        inputs = (in_channels, *filters[:-1])
        self.encoder = nn.ModuleList(
            _block(before, width) for before, width in zip(inputs, filters, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        upward = list(zip(filters[:0:-1], filters[-2::-1], strict=True))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(below, width, kernel_size=2, stride=2) for below, width in upward
        )
        self.decoder = nn.ModuleList(_block(2 * width, width) for _, width in upward)
        self.logits = nn.Conv2d(filters[0], out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the resolution of the image."""
        features = self.encoder[0](self.normalisation(image))
        skips = []
        for block in self.encoder[1:]:
            skips.append(features)
            features = block(self.pool(features))
        for enlarge, block in zip(self.enlarge, self.decoder, strict=True):
            features = block(torch.cat([skips.pop(), enlarge(features)], dim=1))
        logits: Tensor = self.logits(features)
        return logits


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
