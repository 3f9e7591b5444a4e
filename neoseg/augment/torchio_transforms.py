"""TorchIO's own intensity transforms on a patch, with a seed for each.

They change the image alone. Transforms that move voxels would have to move the codes with them; the
geometry of a patch is `augment.spatial`, which does.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neoseg.processes import one_thread

NAMES = (
    "Blur",
    "Clamp",
    "Gamma",
    "RandomBiasField",
    "RandomBlur",
    "RandomGamma",
    "RandomGhosting",
    "RandomMotion",
    "RandomNoise",
    "RandomSpike",
    "RescaleIntensity",
    "ZNormalization",
)
"""The intensity transforms of TorchIO 1.2 that need nothing but an image and move no voxels."""


class TorchioTransform(BaseModel):
    """One entry of `augment.torchio`: a transform's name, its probability and its arguments.

    Any further key is handed to the transform.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    p: float = Field(default=1.0, ge=0, le=1, description="probability; 0 switches it off")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the transform is made with."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _can_be_made(self) -> TorchioTransform:
        if self.name not in NAMES:
            near = get_close_matches(self.name, NAMES, n=2, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(
                f"'{self.name}' is not one of TorchIO's intensity transforms{hint} "
                f"(known: {', '.join(NAMES)})"
            )
        make(self)
        return self


def make(transform: TorchioTransform) -> Any:
    """Return TorchIO's object.

    Raises:
        ValueError: arguments that the transform does not have or cannot use.
    """
    import torchio  # a second of imports that only those who use it pay

    kind = getattr(torchio.transforms, transform.name)
    known = [
        name
        for name, parameter in signature(kind).parameters.items()
        if parameter.kind is not Parameter.VAR_KEYWORD and name != "p"
    ]
    for key in transform.arguments:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"{transform.name} has no argument '{key}'{hint} (known: {', '.join(known)})"
            )
    try:
        return kind(p=transform.p, **transform.arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{transform.name}: {error}") from None


@lru_cache(maxsize=32)
def _made(description: str) -> Any:
    return make(TorchioTransform.model_validate_json(description))


def apply_torchio(
    image: np.ndarray, transforms: Sequence[TorchioTransform], spacing: Sequence[float], seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a changed copy of `image` (float32 `[M, X, Y, Z]`) and the names of what was applied.

    Args:
        image: the patch; all channels are changed alike.
        transforms: in this order.
        spacing: voxel size in mm, for arguments in millimetres.
        seed: TorchIO draws from torch's global generator, which is seeded here and put back.
    """
    import torchio

    affine = np.diag([*spacing, 1.0])
    subject: Any = torchio.Subject(
        image=torchio.ScalarImage(tensor=torch.from_numpy(image).clone(), affine=affine)
    )
    # On one thread, as `appearance`: a loader process has one, and more would round differently.
    with torch.random.fork_rng(devices=[]), one_thread(torch.device("cpu")):
        torch.manual_seed(seed)
        for transform in transforms:
            if transform.name == "ZNormalization" and not subject["image"].data.std():
                continue  # a patch of air has no deviation
            subject = _made(transform.model_dump_json())(subject)
    done = tuple(item.name for item in subject.history)
    return subject["image"].data.to(torch.float32).numpy(), done
