"""Intensity transforms of TorchIO, and of packages that build on it, each with a seed.

They change the image alone. Spatial transforms would have to be applied to the codes too; use
`augment.spatial`, which does so.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neoseg.buildable import TRANSFORMS, TargetError, is_class, require_targets
from neoseg.errors import NeosegError
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError
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
"""Intensity transforms of TorchIO 1.2 that need only an image and move no voxels."""

KNOWN_TRANSFORMS = tuple(f"torchio.{name}" for name in NAMES)
"""Paths that a `_target_` may always name; other transforms may read files."""


def require_known(targets: Iterable[str], allow: Sequence[str]) -> None:
    """Raise `ConfigError` for a transform that a configuration may not name."""
    for target in targets:
        try:
            node = {"_target_": target}
            require_targets(node, KNOWN_TRANSFORMS, is_class, "class", TRANSFORMS, allow)
        except TargetError as error:
            raise ConfigError(f"augment.torchio: {error}") from None


class TorchioTransform(BaseModel):
    """One entry of `augment.torchio`: a transform, its probability and its arguments.

    `name` is one of TorchIO's; `_target_` is the dotted path of another package's subclass of
    `torchio.Transform`, which is imported when the first patch needs it. All other keys are
    arguments of the transform.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str | None = None
    target: str | None = Field(default=None, alias="_target_")
    p: float = Field(default=1.0, ge=0, le=1, description="probability; 0 switches it off")

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the transform."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _can_be_made(self) -> TorchioTransform:
        if (self.name is None) == (self.target is None):
            raise ValueError(
                "Field required: name, for a transform of TorchIO, or _target_, for one of another "
                "package; one of the two"
            )
        if self.name is None:
            return self  # `require_known` decides whether its package may be imported
        if self.name not in NAMES:
            raise ValueError(
                f"'{self.name}' is not one of TorchIO's intensity transforms"
                f"{nearest(self.name, NAMES)}"
            )
        make(self)
        return self


class TransformError(NeosegError):
    """An invalid transform, or arguments that it does not have or cannot use."""


def make(transform: TorchioTransform) -> Any:
    """Build the TorchIO transform; imports the package of a `_target_`.

    Raises:
        TransformError: a target that cannot be imported or is not an intensity transform, or wrong
            arguments.
    """
    import torchio  # takes a second, so only imported if used

    if transform.target is not None:
        kind, name = _import_transform(transform.target), transform.target
    else:
        kind, name = getattr(torchio.transforms, str(transform.name)), str(transform.name)
    variadic = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    parameters = signature(kind).parameters.values()
    accepted = [item.name for item in parameters if item.kind not in variadic and item.name != "p"]
    for key in transform.arguments:
        if key not in accepted:
            raise TransformError(f"{name} has no argument '{key}'{nearest(key, accepted)}")
    try:
        return kind(p=transform.p, **transform.arguments)
    except (TypeError, ValueError) as error:
        raise TransformError(f"{name}: {error}") from None


def _import_transform(target: str) -> Any:
    import torchio

    module, _, name = target.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise TransformError(
            f"augment.torchio: '{target}' cannot be imported ({error}); write the path of a class "
            "in a package that is installed, such as mylab.transforms.MyTransform"
        ) from None
    problem = ""
    if not (isinstance(kind, type) and issubclass(kind, torchio.Transform)):
        problem = "is no subclass of torchio.Transform"
    elif issubclass(kind, torchio.SpatialTransform):
        problem = "moves voxels, which the codes would not follow"
    if problem:
        raise TransformError(
            f"augment.torchio: '{target}' {problem}; expected a transform of intensities, such as "
            "a subclass of torchio.transforms.IntensityTransform"
        )
    return kind


@lru_cache(maxsize=32)
def _cached_transform(description: str) -> Any:
    return make(TorchioTransform.model_validate_json(description))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore their states afterwards.

    TorchIO uses torch's; transforms of other packages may use any.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def apply_torchio(
    image: np.ndarray, transforms: Sequence[TorchioTransform], spacing: Sequence[float], seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a changed copy of `image` (float32 `[M, X, Y, Z]`), and the names of the changes.

    Args:
        image: the patch; all channels are changed alike.
        transforms: in the order of application.
        spacing: voxel size in mm, for arguments in millimetres.
        seed: of all random numbers.

    Raises:
        TransformError: see `make`; also a transform that changes the shape.
    """
    import torchio

    affine = np.diag([*spacing, 1.0])
    subject: Any = torchio.Subject(
        image=torchio.ScalarImage(tensor=torch.from_numpy(image).clone(), affine=affine)
    )
    # On one thread, as in `appearance`: rounding depends on the number of threads.
    with _seeded(seed), one_thread(torch.device("cpu")):
        for transform in transforms:
            if transform.name == "ZNormalization" and not subject["image"].data.std():
                continue  # a constant patch cannot be normalised
            subject = _cached_transform(transform.model_dump_json(by_alias=True))(subject)
            shape = tuple(subject["image"].data.shape)
            if shape != image.shape:
                raise TransformError(
                    f"augment.torchio: {transform.name or transform.target} made {shape} of a "
                    f"patch {image.shape}; expected the same shape, since codes stay as they are"
                )
    applied = tuple(item.name for item in subject.history)
    return subject["image"].data.to(torch.float32).numpy(), applied
