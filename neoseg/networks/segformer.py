"""SegFormer from the transformers library, for any number of image channels."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class SegFormer(nn.Module):
    """SegFormer (Xie et al., NeurIPS 2021), randomly initialised: `[B, M, Y, Z]` to `[B, N, Y, Z]`.

    The default is B0. Other sizes are configured by the settings of `transformers.SegformerConfig`
    (`depths`, `hidden_sizes`, `decoder_hidden_size`, ...). Nothing is downloaded. The decoder works
    at a quarter of the resolution; its logits are upsampled bilinearly.

    Raises:
        ImportError: transformers is not installed.
        ValueError: a setting that `SegformerConfig` does not have.
    """

    def __init__(self, in_channels: int, out_channels: int, **settings: Any) -> None:
        super().__init__()
        try:
            from transformers import SegformerConfig, SegformerForSemanticSegmentation
        except ImportError as error:
            raise ImportError(
                "network 'segformer' needs the transformers library; install it with "
                f"pip install 'neoseg[segformer]' ({error})"
            ) from error
        channels: dict[str, Any] = {"num_channels": in_channels, "num_labels": out_channels}
        allowed = set(SegformerConfig().to_dict()) - set(channels)
        unknown = sorted(set(settings) - allowed)
        if unknown:
            raise ValueError(
                f"SegFormer has no setting {', '.join(unknown)}; see transformers.SegformerConfig, "
                "for example depths, hidden_sizes, decoder_hidden_size, drop_path_rate"
            )
        config = SegformerConfig(**settings, **channels)
        self.network = SegformerForSemanticSegmentation(config)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the resolution of the image."""
        logits = self.network(pixel_values=image).logits
        return functional.interpolate(
            logits, size=image.shape[2:], mode="bilinear", align_corners=False
        )
