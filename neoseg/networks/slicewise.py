"""Apply a 2D network to the slices of a 3D batch."""

from collections.abc import Callable

from torch import Tensor, nn

from neoseg.networks.deep_supervision import with_head_list


class SliceWise(nn.Module):
    """Wrap a 2D network so that it maps `[B, M, 1, Y, Z]` to `[B, N, 1, Y, Z]`.

    The axis of length 1 may be any of the three: it is the axis along which the slices are stacked,
    and the network gets the other two in their order.

    Args:
        network: builds the 2D network from `in_channels` and `out_channels` (`_partial_: true`).
        in_channels: image channels M.
        out_channels: logit channels N.
    """

    def __init__(
        self, network: Callable[..., nn.Module], in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        if isinstance(network, nn.Module):
            raise ValueError(
                "SliceWise builds its network itself; set `_partial_: true` on the network"
            )
        built = network(in_channels=in_channels, out_channels=out_channels)
        self.network = with_head_list(built)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits of the image's size, or a list of them under deep supervision.

        Raises:
            ValueError: `image` is not `[B, M, X, Y, Z]` with exactly one axis of length 1.
        """
        axes = [axis for axis in range(2, image.ndim) if image.shape[axis] == 1]
        if image.ndim != 5 or len(axes) != 1:
            raise ValueError(
                "a 2D network reads single slices, [batch, modality, X, Y, Z] with exactly one of "
                f"X, Y, Z equal to 1, found {list(image.shape)}; set the patch size to 1 along "
                "the axis across which the slices are stacked"
            )
        logits = self.network(image.squeeze(axes[0]))
        if isinstance(logits, list):
            return [level.unsqueeze(axes[0]) for level in logits]
        volume: Tensor = logits.unsqueeze(axes[0])
        return volume
