"""nnU-Net's U-Net with a residual encoder, which MONAI lacks."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Kernel = Sequence[int]
Triple = tuple[int, int, int]
ONE = (1, 1, 1)


class ResEncUNet(nn.Module):
    """The `ResidualEncoderUNet` of Isensee et al., MICCAI 2024 (arXiv 2404.09556).

    An encoder level is a sequence of residual blocks of two convolutions. The shortcut is
    average-pooled where the level downsamples and has a 1x1x1 convolution where it widens
    (ResNet-D, He et al. 2019). The decoder has plain convolutions. Weights are initialised as by
    nnU-Net: He et al., with each block an identity at first. MONAI's `DynUNet` is no substitute: it
    has one block per level and a strided shortcut, which is another function. The package that
    nnU-Net takes the network from needs two further ones for these few lines, and its networks
    store every weight under three names.

    Args:
        in_channels, out_channels: numbers of images M and logits N.
        filters: channels of each level, highest resolution first.
        blocks: number of blocks of each encoder level.
        kernel_size: of the convolutions: one number, or for each level one, or three for X, Y, Z.
        strides: likewise, of each level relative to the one above it. The first level has stride 1,
            also if a single number is given.
        decoder_convs: convolutions per decoder level.
        dropout: probability after each convolution but the second of a block; None for none.
        deep_supervision: whether training returns a list of logits, highest resolution first, those
            of coarser levels upsampled (nearest neighbour).
        deep_supr_num: number of coarser levels that have logits with deep supervision.

    Raises:
        ValueError: lists of different lengths, or more logits than the decoder has levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int],
        blocks: Sequence[int],
        kernel_size: int | Sequence[int | Kernel] = 3,
        strides: int | Sequence[int | Kernel] = 2,
        decoder_convs: int = 1,
        dropout: float | None = None,
        deep_supervision: bool = False,
        deep_supr_num: int = 2,
    ) -> None:
        super().__init__()
        levels = len(filters)
        kernels, steps = _triples(kernel_size, levels), _triples(strides, levels)
        if isinstance(strides, int):
            steps[:1] = [ONE]
        lengths = {"blocks": blocks, "kernel_size": kernels, "strides": steps}
        for key, values in lengths.items():
            if len(values) != levels:
                raise ValueError(f"{key} has {len(values)} levels, filters {levels}")
        coarser = deep_supr_num if deep_supervision else 0
        if levels < 2 or not 0 <= coarser <= levels - 2:
            raise ValueError(f"{levels} levels with deep_supr_num={coarser}, at most {levels - 2}")
        self.stem = _convolution(in_channels, filters[0], kernels[0], dropout=dropout)
        in_width = filters[0]
        encoder = []
        for width, count, kernel, step in zip(filters, blocks, kernels, steps, strict=True):
            further_blocks = (_Block(width, width, kernel, ONE, dropout) for _ in range(1, count))
            encoder.append(
                nn.Sequential(_Block(in_width, width, kernel, step, dropout), *further_blocks)
            )
            in_width = width
        up, decoder = [], []
        for level in range(levels - 2, -1, -1):
            width, step = filters[level], steps[level + 1]
            up.append(nn.ConvTranspose3d(filters[level + 1], width, step, step))
            widths = [2 * width, *[width] * decoder_convs]
            convolutions = (
                _convolution(before, after, kernels[level], dropout=dropout)
                for before, after in pairwise(widths)
            )
            decoder.append(nn.Sequential(*convolutions))
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.up = nn.ModuleList(up)
        self.heads = nn.ModuleList(nn.Conv3d(n, out_channels, 1) for n in filters[: 1 + coarser])
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits `[B, N, X, Y, Z]` for `[B, M, X, Y, Z]`, in training a list of them."""
        features = self.stem(image)
        skips: list[Tensor] = []
        for level_layers in self.encoder:
            features = level_layers(features)
            skips.append(features)
        skips.pop()
        logits: list[Tensor] = []
        for up, level_layers in zip(self.up, self.decoder, strict=True):
            features = level_layers(torch.cat([up(features), skips.pop()], dim=1))
            level = len(skips)
            if level == 0 or (self.training and level < len(self.heads)):
                logits.append(self.heads[level](features))
        if not self.training or len(self.heads) == 1:
            return logits[-1]
        return [logits.pop(), *(interpolate(value, image.shape[2:]) for value in reversed(logits))]


class _Block(nn.Module):
    """Residual block of two convolutions: `[B, C, *S]` to `[B, D, *S / stride]`."""

    def __init__(
        self, before: int, width: int, kernel: Triple, stride: Triple, dropout: float | None
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(before, width, kernel, stride, dropout)
        self.conv2 = _convolution(width, width, kernel, active=False)
        self.pool = nn.AvgPool3d(stride) if max(stride) > 1 else nn.Identity()
        same_width = before == width
        self.beside = (
            nn.Identity() if same_width else _convolution(before, width, ONE, active=False)
        )
        self.act = nn.LeakyReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        total: Tensor = self.conv2(self.conv1(features))
        total += self.beside(self.pool(features))
        result: Tensor = self.act(total)
        return result


def _convolution(
    before: int,
    width: int,
    kernel: Triple,
    stride: Triple = ONE,
    dropout: float | None = None,
    active: bool = True,
) -> nn.Sequential:
    """Return a convolution without bias, which the normalisation after it would cancel."""
    pad = _triple([n // 2 for n in kernel])
    convolution = nn.Conv3d(before, width, kernel, stride, pad, bias=False)
    layers: dict[str, nn.Module] = {"conv": convolution}
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["norm"] = nn.InstanceNorm3d(width, affine=True)
    if active:
        layers["act"] = nn.LeakyReLU(inplace=True)
    return nn.Sequential(OrderedDict(layers))


def _initialise(module: nn.Module) -> None:
    """Initialise a module as nnU-Net does, so that residual blocks start as identities."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _Block):
        nn.init.zeros_(module.conv2.get_submodule("norm").weight)  # type: ignore[arg-type]


def _triples(value: int | Sequence[int | Kernel], levels: int) -> list[Triple]:
    return [_triple(n) for n in ([value] * levels if isinstance(value, int) else value)]


def _triple(value: int | Kernel) -> Triple:
    x, y, z = [value] * 3 if isinstance(value, int) else value
    return x, y, z
