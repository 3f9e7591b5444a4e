"""Parts of a network, by the names of their weights: frozen, or with their own learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field, PositiveFloat
from torch import nn

from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError, Section
from neoseg.labels.table import Reference
from neoseg.networks.carry import is_head, roles

HEAD, BODY = "head", "body"
"""Used instead of patterns: layers whose size depends on the classes, and all others."""

Names = Reference | tuple[Reference, ...]


class InitSettings(Section):
    """Settings under `init`; null has no effect."""

    map: dict[str, Names] | None = Field(
        default=None, description="of which structure in the old table a new one is, or a part"
    )
    freeze: tuple[str, ...] | None = Field(default=None, description="parts that stay")
    rates: dict[str, PositiveFloat] | None = Field(
        default=None, description="share of optimizer.lr by part; the first that fits counts"
    )

    @property
    def parts(self) -> list[str]:
        """All parts named under `freeze` and `rates`."""
        return [*(self.freeze or ()), *(self.rates or ())]


def freeze(settings: InitSettings, network: nn.Module, build: Builder) -> None:
    """Freeze the weights of a network that the settings select.

    Args:
        settings: name the parts.
        network: the network to be trained.
        build: builds a network of its kind with additional image and output channels.

    Raises:
        ConfigError: a part that the network does not have, or no weight left to train.
    """
    for pattern in settings.freeze or ():
        for weight in _select(pattern, network, build).values():
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError("init.freeze leaves no weight that learns; freeze less, such as [body]")


def groups(
    settings: InitSettings, network: nn.Module, lr: float, build: Builder
) -> Iterator[nn.Parameter | dict[str, Any]]:
    """Yield trainable weights for an optimizer, in groups if parts have rates of their own.

    Raises as `freeze`.
    """
    if not settings.rates:
        yield from network.parameters()
        return
    remaining = {
        name: weight for name, weight in network.named_parameters() if weight.requires_grad
    }
    for pattern, share in settings.rates.items():
        group = {
            name: remaining.pop(name)
            for name in _select(pattern, network, build)
            if name in remaining
        }
        if group:
            yield {"params": list(group.values()), "lr": lr * share}
    if remaining:
        yield {"params": list(remaining.values()), "lr": lr}


Builder = Callable[[int, int], nn.Module]


def _select(pattern: str, network: nn.Module, build: Builder) -> Mapping[str, nn.Parameter]:
    named = dict(network.named_parameters())
    if pattern in (HEAD, BODY):
        layer_roles = roles(network, build)
        return {n: w for n, w in named.items() if is_head(n, layer_roles) == (pattern == HEAD)}
    matches = {name: weight for name, weight in named.items() if fnmatchcase(name, pattern)}
    if not matches:
        raise ConfigError(
            f"init names '{pattern}', and no weight of the network is called so"
            f"{nearest(pattern, named)}; use {HEAD}, {BODY}, or a pattern such as "
            f"'{next(iter(named)).split('.')[0]}.*'"
        )
    return matches
