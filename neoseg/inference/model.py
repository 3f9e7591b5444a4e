"""The specification of a trained network: all that a checkpoint needs for segmentation."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from pydantic import ValidationInfo, field_validator
from torch import nn

from neoseg.cohort import MissingModality
from neoseg.findings.settings import Section
from neoseg.inference.window import WindowSettings
from neoseg.labels import MAX_CODES, Codebook, LabelSpace, LabelTable
from neoseg.networks import Head, build_network, make_head
from neoseg.store import PrepareSettings


class ModelSpec(Section):
    """Inputs, outputs and meaning of a network; stored as plain containers in each checkpoint.

    Attributes:
        labels: the label table (`conf/labels`).
        label_sets: leaf positions for each row of the codebook.
        modalities: names of the images.
        missing_modality: how scans that lack a modality are handled; None: zeros in its place,
            without an indicator.
        prepare: how scans were prepared.
        patch_size: voxels along X, Y, Z.
        network: a `conf/network` entry.
        head: "multilabel" or "softmax".
        decoding: of a multi-label head, "hierarchy" or "paper".
        window: sliding window of validation and prediction; checkpoints omit its `patch_size`.
        predict_with: "student", "teacher", "peer", or "auto": the teacher if there is one.
    """

    labels: LabelTable
    label_sets: tuple[tuple[int, ...], ...]
    modalities: tuple[str, ...]
    missing_modality: MissingModality | None = None
    prepare: PrepareSettings
    patch_size: tuple[int, int, int]
    network: dict[str, Any]
    head: str
    decoding: str
    window: WindowSettings
    predict_with: str = "auto"

    @field_validator("label_sets")
    @classmethod
    def _sets_are_of_leaves(
        cls, rows: tuple[tuple[int, ...], ...], info: ValidationInfo
    ) -> tuple[tuple[int, ...], ...]:
        count = len(info.data["labels"].leaves) if "labels" in info.data else MAX_CODES
        if not 0 < len(rows) <= MAX_CODES or not all(rows):
            raise ValueError(f"expected 1 to {MAX_CODES} sets, none of them empty")
        if not all(0 <= leaf < count for row in rows for leaf in row):
            raise ValueError(f"expected positions of leaves, 0 to {count - 1}")
        return rows

    @field_validator("window", mode="before")
    @classmethod
    def _windows_are_patches(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {"patch_size": info.data.get("patch_size"), **raw}

    def plain(self) -> dict[str, Any]:
        """Return plain containers, for a checkpoint that loads with `weights_only=True`."""
        content = self.model_dump(mode="json", by_alias=True)
        content["window"].pop("patch_size")
        return content

    @cached_property
    def space(self) -> LabelSpace:
        """The label space of the table."""
        return LabelSpace.from_table(self.labels)

    @cached_property
    def codebook(self) -> Codebook:
        """The label sets that the training annotations can express."""
        return Codebook(self.space, tuple(frozenset(row) for row in self.label_sets))

    def make_head(self) -> Head:
        """Return the head, which defines the meaning of the output channels."""
        return make_head(self.head, self.space, self.decoding)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the input channels of the network."""
        missing = self.missing_modality
        return self.modalities if missing is None else missing.channel_names(self.modalities)

    def build_network(
        self, allow: Sequence[str] = (), images: int = 0, outputs: int = 0
    ) -> nn.Module:
        """Return a newly initialised network.

        Args:
            allow: further packages whose classes may be instantiated.
            images, outputs: additional input and output channels.

        Raises:
            NetworkError: the class is not allowed, or does not accept the settings.
        """
        inputs, channels = len(self.channel_names) + images, self.make_head().channels + outputs
        return build_network(self.network, inputs, channels, self.patch_size, allow)


HOW_TO_GET = {
    "teacher": "add loss=[..., mean_teacher] or set teacher.always=true",
    "peer": "add loss=[..., cross_pseudo]",
}
"""Configuration that adds a network to a run, by the name of that network."""


def chosen(choice: str, there: Sequence[str]) -> str:
    """Return the name of the network that predicts, one of `there`.

    Raises:
        ValueError: the network does not exist; the message says how to get it.
    """
    if choice == "auto":
        return "teacher" if "teacher" in there else "student"
    if choice in there:
        return choice
    if choice in HOW_TO_GET:
        raise ValueError(f"predict_with is '{choice}', but this run has none; {HOW_TO_GET[choice]}")
    raise ValueError(f"predict_with is '{choice}'; use auto, student, teacher or peer")
