"""A network."""

from torch import Tensor, nn


class PocketNet(nn.Module):
    """Two convolutions at half the resolution."""

    divisor = 2

    def __init__(self, in_channels: int, out_channels: int, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(in_channels, width, 3, padding=1, stride=2),
            nn.InstanceNorm3d(width, affine=True),
            nn.ReLU(),
            nn.ConvTranspose3d(width, out_channels, 2, stride=2),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `[B, N, X, Y, Z]`."""
        return self.layers(image)
