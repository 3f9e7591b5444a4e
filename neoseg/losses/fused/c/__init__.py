"""The same passes in C, for float32 on a CPU; compiled on first use, if there is a compiler."""

from neoseg.losses.fused.c.passes import (
    NativeSigmoid,
    NativeSoftmax,
    usable,
)

__all__ = ["NativeSigmoid", "NativeSoftmax", "usable"]
