"""The objective: a weighted sum of loss terms whose weights may change during training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neoseg.labels import Codebook
from neoseg.losses.build import make_term
from neoseg.losses.fused import SumTerm, VoxelTerm, accumulate, voxel_sums
from neoseg.losses.registry import LossError
from neoseg.losses.share import Share
from neoseg.losses.term import LossTerm, Prediction, full_precision


class Objective(nn.Module):
    """Sum over terms of weight x ramp(progress) x term, as in

        loss = Objective({"iuc": {}, "dice": {"weight": 0.5}}, codebook, "multilabel")
        loss(logits, codes).backward()

    Every term is evaluated at every step, even if its weight is 0 or the batch has no items for it,
    so that all ranks of a distributed run take the same path.

    Attributes:
        needs_teacher, needs_passes, needs_peer: whether any term compares with a teacher, uses the
            teacher's uncertainty, or compares with a second network.
        accepts_partial: whether any term learns from partial labels without a teacher or peer.
    """

    def __init__(
        self,
        config: Mapping[str, Mapping[str, Any] | None] | Sequence[str],
        codebook: Codebook,
        head: str,
        allow: Sequence[str] = (),
    ) -> None:
        """Build the terms of `{key: {weight, ramp, term, **settings}}`.

        A key is the name of a term; to use a term twice, choose other keys and set `term:`. For a
        class of another package set `_target_:` to its dotted path. Null entries are skipped, so
        that a configuration can switch a term off.

        Args:
            config: the terms, or just their names.
            codebook: the label sets of the cohort.
            head: name of the network's head.
            allow: packages that a `_target_` may refer to.

        Raises:
            LossError: no terms, unknown names or settings, invalid values, a term that does not
                accept the head, or a `_target_` outside `allow`.
        """
        super().__init__()
        if not isinstance(config, Mapping):
            if isinstance(config, str) or len(set(config)) < len(config):
                raise LossError(f"{config!r} is no list of names, each once; write ['iuc', 'dice']")
            config = {name: {} for name in config}
        self.head = head
        self.terms = nn.ModuleDict()
        self._shares: dict[str, Share] = {}
        for key, entry in config.items():
            if entry is None:
                continue
            if not isinstance(entry, Mapping):
                raise LossError(
                    f"loss.{key} is {entry!r}, expected a mapping such as {{weight: 1.0}}"
                )
            if not str(key).isidentifier():
                raise LossError(f"loss '{key}': use a key of letters, digits and underscores")
            if hasattr(self.terms, key):
                raise LossError(
                    f"loss '{key}': PyTorch's modules have something of that name; choose another "
                    f"key, as in my_{key}: {{term: {key}}}"
                )
            settings = dict(entry)
            names = [settings.pop(option) for option in ("_target_", "term") if option in entry]
            if len(names) == 2:
                raise LossError(f"loss.{key} has both `term` and `_target_`; remove one of them")
            name = str(names[0]) if names else key
            share = {field: settings.pop(field) for field in ("weight", "ramp") if field in entry}
            self._shares[key] = Share.parse(key, share)
            self.terms[key] = make_term(name, codebook, head, settings, key, allow)
        if not self._shares:
            raise LossError("the objective has no terms; choose some, as in loss=[iuc]")
        terms = self._terms()
        self.needs_teacher = any(term.needs_teacher for term in terms)
        self.needs_passes = any(term.needs_passes for term in terms)
        self.needs_peer = any(term.needs_peer for term in terms)
        self.accepts_partial = any(
            term.accepts_partial and not (term.needs_teacher or term.needs_peer) for term in terms
        )

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weight of each term after a fraction `progress` (0 to 1) of the training.

        Raises:
            ValueError: `progress` is outside 0 to 1.
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}, expected the share of the training, 0 to 1")
        return {
            key: share.weight * (1.0 if share.ramp is None else share.ramp.factor(progress))
            for key, share in self._shares.items()
        }

    def forward(
        self,
        logits: Tensor,
        codes: Tensor,
        *,
        teacher: Tensor | None = None,
        peer: Tensor | None = None,
        teacher_mean: Tensor | None = None,
        stream: Tensor | None = None,
        progress: float = 0.0,
    ) -> Tensor:
        """Return the weighted sum, a scalar; the keyword arguments are for terms that need them.

        Args:
            logits: `[B, N, *S]`, N channels of the head.
            codes: uint8 `[B, *S]`.
            teacher, peer, teacher_mean, stream, progress: as in `Prediction`.

        Raises:
            ValueError: shapes do not match, or an input that a term needs is missing.
        """
        prediction = Prediction(
            logits, self.head, teacher, stream, peer, teacher_mean=teacher_mean, progress=progress
        )
        return self.evaluate(prediction, codes)[0]

    def evaluate(self, prediction: Prediction, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum and each term's own value, unweighted and detached.

        Raises:
            ValueError: as `forward`.
        """
        weights, logits = self.weights(prediction.progress), prediction.logits
        terms = dict(zip(self.terms, self._terms(), strict=True))
        for term in terms.values():
            term.check(prediction, codes)
        with torch.autocast(device_type=logits.device.type, enabled=False):
            # One pass over the logits computes the sums for all `SumTerm`s, another one the losses
            # of all `VoxelTerm`s.
            wanted = {name for t in terms.values() if isinstance(t, SumTerm) for name in t.wanted}
            sums = accumulate(prediction, codes, next(iter(terms.values())), wanted)
            values, parts = {}, {}
            for key, term in terms.items():
                if isinstance(term, SumTerm):
                    values[key] = term.from_sums(sums)
                elif isinstance(term, VoxelTerm):
                    parts[key] = term.part(sums.count, weights[key])
                else:
                    values[key] = term.evaluate(prediction, codes)
            weighted = [
                weights[key] * full_precision(_scalar(key, value), logits)
                for key, value in values.items()
            ]
            if parts:
                total, losses = voxel_sums(logits, codes, list(parts.values()))
                weighted.append(full_precision(total, logits))
                values |= dict(zip(parts, losses, strict=True))
        unweighted = {key: full_precision(values[key].detach(), logits) for key in terms}
        loss = torch.stack(weighted).sum()
        learns = loss.requires_grad or not (logits.requires_grad and torch.is_grad_enabled())
        if not learns and loss != 0:  # a term may have nothing to say
            names = ", ".join(terms)
            raise LossError(f"loss {names}: the value is detached from the logits: nothing learns")
        return loss, unweighted

    def _terms(self) -> list[LossTerm]:
        return list(self.terms.values())  # type: ignore[arg-type]


def _scalar(key: str, value: Any) -> Tensor:
    """Return the value of a term, which may be of another package, if it is a scalar tensor."""
    if isinstance(value, Tensor) and not value.dim():
        return value
    found = f"of shape {list(value.shape)}" if isinstance(value, Tensor) else ""
    kind = f"a {type(value).__name__} {found}".rstrip()
    raise LossError(f"loss.{key} gives {kind}, expected a scalar tensor")
