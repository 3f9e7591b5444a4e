"""Dice of validation scans, computed from counts on the voxels whose annotation is known."""

from collections import ChainMap
from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from neoseg.labels import Codebook, LabelSpace


def class_dice(leaves: Tensor, codes: Tensor, codebook: Codebook) -> Tensor:
    """Return the Dice of each class, float64 `[C]`, NaN if neither volume has the class.

    Voxels whose label set leaves a class undetermined do not count for that class. A class that is
    undetermined in some voxels and present in none has no truth to compare with: NaN.

    Args:
        leaves: predicted leaf positions, integer `[X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`, rows of the codebook.
        codebook: the meaning of the codes.

    Raises:
        ValueError: if shapes differ, or values are no leaves or rows of the codebook.
    """
    K, R = codebook.space.num_leaves, codebook.size
    if leaves.shape != codes.shape:
        raise ValueError(f"leaves {tuple(leaves.shape)} and codes {tuple(codes.shape)} differ")
    for name, values, count in (("leaves", leaves, K), ("codes", codes, R)):
        if values.is_floating_point() or values.is_complex():
            raise ValueError(f"the {name} are {values.dtype}, expected whole numbers")
        low, high = (values.min().item(), values.max().item()) if values.numel() else (0, 0)
        if not 0 <= low <= high < count:
            raise ValueError(f"the {name} hold {low} to {high}, expected 0 to {count - 1}")
    joint = torch.bincount((leaves.long() * R + codes.long()).flatten(), minlength=K * R)
    joint = joint.view(K, R).cpu().double()
    inside = torch.from_numpy(codebook.space.class_leaves).double()  # [C, K]
    membership = torch.from_numpy(codebook.membership)  # [R, C]
    positive, known = (membership == 1).double(), (membership != -1).double()
    predicted = inside @ joint  # [C, R]
    overlap = (predicted * positive.T).sum(1)
    named = joint.sum(0) @ positive
    hidden = (named == 0) & (joint.sum(0) @ (1 - known) > 0)
    size = (predicted * known.T).sum(1) + named
    return torch.where((size > 0) & ~hidden, 2 * overlap / size, torch.nan)


def names_leaves(codes: Tensor, codebook: Codebook) -> bool:
    """Return whether an annotation has voxels of a single leaf other than background."""
    single = [len(s) == 1 and codebook.space.background not in s for s in codebook.sets]
    return any(single[code] for code in codes.unique().tolist())


def mean_of_classes(per_class: Tensor, space: LabelSpace, leaves: bool) -> Tensor:
    """Return the mean of values `[C]` over leaves other than background that have one.

    With `leaves` false, as no annotation has voxels of a leaf, the mean is over super-classes.
    """
    if not leaves:
        return per_class[space.num_leaves :].nanmean()
    return per_class[[k for k in range(space.num_leaves) if k != space.background]].nanmean()


def validation_values(leaves: Tensor, codes: Tensor, codebook: Codebook) -> Tensor:
    """Return the Dice of each class of a scan, and whether its annotation has leaves, `[C + 1]`."""
    named = torch.tensor([float(names_leaves(codes, codebook))], dtype=torch.float64)
    return torch.cat([class_dice(leaves, codes, codebook), named])


def mean_values(values: Sequence[Tensor], space: LabelSpace) -> tuple[Tensor, Tensor]:
    """Return the mean Dice of each class over scans, and the mean of these; see `mean_of_classes`.

    Args:
        values: of the scans, from `validation_values`.
        space: the leaves and super-classes.
    """
    *per_class, named = torch.stack(list(values)).nanmean(dim=0)
    dice = torch.stack(per_class)
    return dice, mean_of_classes(dice, space, leaves=bool(named))


def of_all_ranks(values: dict[int, Tensor]) -> list[Tensor]:
    """Gather values by scan number from all ranks and return them in the order of the numbers.

    All ranks must call this. A scan processed by several ranks counts once.
    """
    gathered = [values]
    if distributed.is_available() and distributed.is_initialized():
        gathered = [{} for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(gathered, values)
    return [value for _, value in sorted(ChainMap(*gathered).items())]
