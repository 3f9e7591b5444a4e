"""Parts of a network by the names of their weights: those that stay, those that learn slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field, PositiveFloat
from torch import nn

from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, Section
from neoseg.networks.carry import is_head, roles

HEAD, BODY = "head", "body"
"""In place of patterns: the layers whose size goes by the classes, and all others."""

Names = int | str | tuple[int | str, ...]


class InitSettings(Section):
    """What a user writes under `init`; null is nothing."""

    map: dict[str, Names] | None = Field(
        default=None, description="of which structure in the old table a new one is, or a part"
    )
    freeze: tuple[str, ...] | None = Field(default=None, description="parts that stay")
    rates: dict[str, PositiveFloat] | None = Field(
        default=None, description="share of optimizer.lr by part; the first that fits counts"
    )

    @property
    def parts(self) -> list[str]:
        """All parts that are named."""
        return [*(self.freeze or ()), *(self.rates or ())]


def freeze(settings: InitSettings, network: nn.Module, build: Builder) -> None:
    """Let weights of a network stay as they are.

    Args:
        settings: that name them.
        network: that is to learn.
        build: makes one of its kind with so many more channels of images and of the head.

    Raises:
        ConfigError: a part that the network does not have, or nothing left to learn.
    """
    for pattern in settings.freeze or ():
        for weight in _part(pattern, network, build).values():
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError("init.freeze leaves no weight that learns; freeze less, such as [body]")


def groups(
    settings: InitSettings, network: nn.Module, lr: float, build: Builder
) -> Iterator[nn.Parameter | dict[str, Any]]:
    """Yield weights as optimizers take them, in groups where they have rates of their own.

    Raises as `freeze`.
    """
    if not settings.rates:
        yield from network.parameters()
        return
    left = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    for pattern, share in settings.rates.items():
        found = {name: left.pop(name) for name in _part(pattern, network, build) if name in left}
        if found:
            yield {"params": list(found.values()), "lr": lr * share}
    if left:
        yield {"params": list(left.values()), "lr": lr}


Builder = Callable[[int, int], nn.Module]


def _part(pattern: str, network: nn.Module, build: Builder) -> Mapping[str, nn.Parameter]:
    named = dict(network.named_parameters())
    if pattern in (HEAD, BODY):
        known = roles(network, build)
        return {n: w for n, w in named.items() if is_head(n, known) == (pattern == HEAD)}
    found = {name: weight for name, weight in named.items() if fnmatchcase(name, pattern)}
    if not found:
        raise ConfigError(
            f"init names '{pattern}', and no weight of the network is called so"
            f"{nearest(pattern, named)}; use {HEAD}, {BODY}, or a pattern such as "
            f"'{next(iter(named)).split('.')[0]}.*'"
        )
    return found
