"""Label sets from a network with other labels, against a loop over voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import WindowSettings
from neoseg.labelling.relabel import SourceLabeller, telling
from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.labels.carried import translated
from neoseg.networks import make_head
from neoseg.patches.volumes import VolumeSample
from neoseg.store import PrepareSettings


def space(leaves: str, **classes: list[str]) -> LabelSpace:
    rows = [
        {"index": n, "name": f"leaf {name}", "abbreviation": name, "color": "#000000"}
        for n, name in enumerate(leaves.split())
    ]
    more = [{"abbreviation": k, "name": f"class {k}", "leaves": v} for k, v in classes.items()]
    raw = {"name": "t", "background": 0, "leaves": rows, "classes": more}
    return LabelSpace.from_table(LabelTable.parse(raw))


class Says(nn.Module):
    """Gives its images as logits."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def test_annotations_are_narrowed_where_the_old_network_is_sure() -> None:
    old, new = space("BG HIP x"), space("BG ANT POST lesion", HIP=["ANT", "POST"])
    said = translated(old, new)
    given = [{0, 3}, {1, 2, 3}]
    codebook = telling(Codebook.build(new, map(frozenset, given)), said)
    window = WindowSettings(patch_size=(4, 4, 4), overlap=0.0)
    head = make_head("softmax", old)
    use = Segmenter(Says(), head, window, PrepareSettings(), torch.device("cpu"))
    labeller = SourceLabeller(codebook, 0.9, 10, "w", use, said, (2, 0, None))

    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(0, 3, (3, 9, 5, 4)).astype(np.float32))
    codes = rng.integers(0, codebook.size, (9, 5, 4)).astype(np.uint8)
    found = labeller.predict(VolumeSample(image, torch.from_numpy(codes), 0, (True, True, True)))

    changed = 0
    for place in np.ndindex(codes.shape):
        logits = [float(image[(2, *place)]), float(image[(0, *place)]), 0.0]
        p = np.exp(logits) / np.exp(logits).sum()
        leaf, allowed = int(np.argmax(p)), codebook.sets[codes[place]]
        if abs(p[leaf] - 0.9) < 1e-3:
            continue
        both = allowed & said[leaf]
        expected = both if p[leaf] >= 0.9 and both else allowed
        assert codebook.sets[found.codes[place]] == expected
        assert found.leaves[place] in expected
        changed += expected != allowed
    assert changed > 5
