"""Label tables, classes, label sets, codebook, membership and protocols."""

from neoseg.labels.codebook import MAX_CODES, UNKNOWN, Codebook
from neoseg.labels.convention import Convention
from neoseg.labels.protocol import STREAMS, Protocol, SliceShare, Stream, hide_slices
from neoseg.labels.space import LabelClass, LabelSet, LabelSpace
from neoseg.labels.table import LabelError, LabelTable, Leaf

__all__ = [
    "MAX_CODES",
    "STREAMS",
    "UNKNOWN",
    "Codebook",
    "Convention",
    "LabelClass",
    "LabelError",
    "LabelSet",
    "LabelSpace",
    "LabelTable",
    "Leaf",
    "Protocol",
    "SliceShare",
    "Stream",
    "hide_slices",
]
