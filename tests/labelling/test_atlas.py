from __future__ import annotations

from dataclasses import replace

import blosc2
import numpy as np
import pytest
import torch
from small_cohort import annotate_cohort, make_data, write_cohort
from torch import nn

from neoseg.cohort import Plan
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import WindowSettings
from neoseg.labelling import atlas
from neoseg.labelling.atlas import NOBODY, AtlasLabeller
from neoseg.labelling.in_turn import InTurn
from neoseg.labelling.relabel import SourceLabeller
from neoseg.labelling.votes import allowed_votes, corners
from neoseg.labels import UNKNOWN, Protocol
from neoseg.networks import make_head
from neoseg.patches.volumes import VolumeDataset
from neoseg.store import PrepareSettings


@pytest.fixture(scope="module", name="made")
def made_fixture(tmp_path_factory: pytest.TempPathFactory):
    """Two atlases and two heads that tell the brain as one; what one hides is noise."""
    root = tmp_path_factory.mktemp("atlas")
    cohort = write_cohort(root / "cohort", 4, scrambled=[3])
    kinds = ["full", "full", "partial", "partial"]
    return make_data(annotate_cohort(cohort, kinds), root / "store")


def labeller(data, number: int = 2, least: float = 0.0, intensities: bool = True) -> AtlasLabeller:
    full = tuple(scan for scan in data.train if scan.stream == 0)
    book = data.annotated.codebook
    return AtlasLabeller(book, least, 50, "weights", full, number, intensities, torch.device("cpu"))


def test_atlases_find_the_parts_and_never_see_what_is_hidden(made) -> None:
    found = {}
    for scan in made.train[2:]:
        sample = VolumeDataset([scan])[0]
        codes, labels = sample.codes.numpy(), labeller(made).predict(sample)
        rows = made.annotated.codebook.rows
        assert rows[codes, labels.leaves].all(), "a leaf outside of a label set"
        single = rows[codes].sum(-1) == 1
        np.testing.assert_array_equal(labels.codes[single], codes[single])
        assert (labels.confidence[single] == 255).all()
        truth = made.train[0].visible.lookup[scan.entry.read_codes()]
        hidden = ~single
        found[scan.entry.scan.id] = float((labels.codes == truth)[hidden].mean())
    plain, scrambled = found.values()
    assert plain > 0.9, found
    assert scrambled < 0.6, "the truth of this scan is noise, which nobody can find"


def test_what_is_registered_does_not_depend_on_the_number_of_threads(made, monkeypatch) -> None:
    sample = VolumeDataset([made.train[2]])[0]
    codes, noise = sample.codes.repeat(3, 3, 3), torch.Generator().manual_seed(0)
    images = [300 + 100 * torch.randn((1, *codes.shape), generator=noise) for _ in range(8)]
    before, found = torch.get_num_threads(), list[list[torch.Tensor]]()

    def register(fixed, moving, **_):
        found[-1].append(fixed)
        return torch.zeros((*fixed.shape[1:], 3))

    monkeypatch.setattr(atlas, "register", register)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append([])
        for image in images:
            labeller(made, number=1, intensities=False).predict(
                replace(sample, image=image, codes=codes)
            )
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for one, *others in zip(*found, strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_processes_write_what_one_process_writes(made, tmp_path, caplog) -> None:
    scans, run = made.train[2:], Provenance("neoseg", "1", "run")
    visible = made.train[0].visible
    fluid = replace(visible, lookup=np.full_like(visible.lookup, 2))  # all of it CSF
    elsewhere = replace(labeller(made), scans=(replace(made.train[0], visible=fluid),))
    written, said = [], []
    for processes in (1, 2):
        root, done = tmp_path / str(processes), list[str]()
        caplog.clear()
        plural = replace(elsewhere, processes=processes)
        assert plural.count_processes(scans) == processes
        plural.label(scans, root, root / "derivatives", run, done.append)
        assert sorted(done) == sorted(scan.entry.scan.id for scan in scans)
        files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock")
        written.append({p.relative_to(root): p.read_bytes() for p in files})
        said.append(sorted(record.getMessage() for record in caplog.records))
    assert written[0]
    assert written[0].keys() == written[1].keys()
    assert [p for p in written[0] if written[0][p] != written[1][p]] == []
    assert said[0] == said[1]
    assert len(said[0]) == len(scans), "an atlas that does not fit is told for each scan"


def test_a_network_and_atlases_in_turn_work_in_processes_as_well(made, tmp_path) -> None:
    scans, book = made.train[2:], made.annotated.codebook
    torch.manual_seed(0)
    network, window = (
        nn.Conv3d(1, book.space.num_leaves, 3, padding=1),
        WindowSettings(patch_size=(8, 8, 8)),
    )
    head, cpu = make_head("softmax", book.space), torch.device("cpu")
    use = Segmenter(network, head, window, PrepareSettings(), cpu)
    said = tuple(frozenset({leaf}) for leaf in range(book.space.num_leaves))
    source = SourceLabeller(book, 0.4, 50, "w", use, said, (0,))
    written = []
    for processes in (1, 2):
        own = replace(labeller(made), processes=processes)
        both, root = InTurn(book, 0.4, 50, "both", (source, own), cpu), tmp_path / str(processes)
        assert both.count_processes(scans) == processes
        both.label(scans, root, root / "derivatives", Provenance("neoseg", "1", "run"))
        written.append([np.asarray(blosc2.open(str(p))[:]) for p in sorted(root.rglob("*.b2nd"))])
    one, two = written
    assert len(one) == 2 * len(scans)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_number_of_processes(made, monkeypatch) -> None:
    scans = made.train[2:]
    assert labeller(made).count_processes(scans) == 1, "too little work for a second process"
    monkeypatch.setattr(atlas, "VOXELS_PER_PROCESS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(atlas, "usable_cores", lambda: 1)
    assert labeller(made).count_processes(scans) == 1
    monkeypatch.setattr(atlas, "usable_cores", lambda: 8)
    assert labeller(made).count_processes(scans) == len(scans)
    assert labeller(made).count_processes([]) == 1
    monkeypatch.setattr(atlas, "free_memory", lambda: 1 << 20)
    assert labeller(made).count_processes(scans) == 1
    assert replace(labeller(made), device=torch.device("cuda")).count_processes(scans) == 1


def test_doubt_leaves_the_annotation_as_it_was(made) -> None:
    sample = VolumeDataset([made.train[2]])[0]
    sure, doubtful = labeller(made), labeller(made, least=0.9)
    one, other = sure.predict(sample), doubtful.predict(sample)
    codes = sample.codes.numpy()
    kept = (other.codes == codes) & (one.codes != codes)
    assert kept.any()
    assert (one.confidence[kept] < 0.9 * 255 + 1).all()
    assert sure.made_of(made.train[2]) != doubtful.made_of(made.train[2])


def test_unknown_stays_unknown(made) -> None:
    sample = VolumeDataset([made.train[2]])[0]
    sample.codes[:5] = UNKNOWN
    labels = labeller(made).predict(sample)
    assert (labels.codes[:5] == UNKNOWN).all()
    assert (labels.confidence[:5] == 0).all()
    assert (labels.leaves != NOBODY).all()


def test_a_scan_without_open_voxels_needs_no_registration(made, monkeypatch) -> None:
    monkeypatch.setattr("neoseg.labelling.atlas.register", None)
    sample = VolumeDataset([made.train[0]])[0]
    labels = labeller(made).predict(sample)
    np.testing.assert_array_equal(labels.codes, sample.codes.numpy())


def test_the_most_alike_atlases_are_taken(made) -> None:
    own = labeller(made, number=1)
    one = VolumeDataset([made.train[1]])[0]
    codes = one.codes.numpy()
    assert own._alike(codes, own._known(codes)) == [1]


def test_corners_interpolate() -> None:
    labels = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    centres = (torch.tensor([[1, 2, 3], [0, 0, 0]]) + 0.5) / torch.tensor([2, 3, 4]) * 2 - 1
    votes, weights = corners(centres.flip(1), labels)
    best = votes.gather(0, weights.argmax(0)[None])[0]
    assert best.tolist() == [23, 0]
    assert weights.sum(0).tolist() == pytest.approx([1, 1])
    between = torch.tensor([[0.0, 0.0, 0.0]])
    votes, weights = corners(between, labels)
    assert sorted(set(votes[weights > 0].tolist())) == [5, 6, 17, 18]
    assert weights[weights > 0].tolist() == pytest.approx([0.25] * 4)


def test_votes_for_sets_count_inside_of_others() -> None:
    """What an atlas has not drawn is the part of a whole that it does not show."""
    rows = np.array(
        [
            [*map(int, row)]
            for row in ["1111", "1000", "0100", "0010", "0001", "1010", "0111", "0011"]
        ],
        bool,
    )
    votes, weights = np.array([[0, 1, 2, 5, 7, 6]], np.uint8), np.full((1, 6), 0.5)
    leaf, weight = allowed_votes(votes, weights, rows, code=6)
    shares = np.zeros((6, 4))
    for one, share in zip(leaf, weight, strict=True):
        shares[np.arange(6), one] += share
    # Unknown, background, leaf 1, background or 2, one of two, the whole.
    nothing, half = [0, 0, 0, 0], [0, 0, 0.25, 0.25]
    expected = [nothing, nothing, [0, 0.5, 0, 0], [0, 0, 0.5, 0], half, nothing]
    np.testing.assert_allclose(shares, expected)


def test_a_structure_that_an_atlas_lacks_is_what_is_left_of_the_whole(tmp_path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 3)
    lacking = Protocol.parse(cohort.convention.space, {"name": "lacking", "missing": ["WM"]})
    plan = annotate_cohort(cohort, ["full", "full", "partial"])
    lacks = replace(plan.sources[0].assignments[0], stream="full", protocol="lacking")
    source = replace(
        plan.sources[0],
        assignments=(lacks, *plan.sources[0].assignments[1:]),
        protocols={**plan.sources[0].protocols, "lacking": lacking},
    )
    data = make_data(Plan.of([source]), tmp_path / "store")
    sample = VolumeDataset([data.train[2]])[0]
    truth = data.train[1].visible.lookup[data.train[2].entry.read_codes()]
    hidden = np.isin(truth, [leaf + 1 for leaf in cohort.convention.space.label_set("WM")])
    for scans in (data.train[:1], data.train[:2]):
        found = replace(labeller(data), scans=scans).predict(sample)
        assert (found.codes == truth)[hidden].mean() > 0.7


def test_an_atlas_that_cannot_be_laid_upon_a_scan_has_no_vote(made, monkeypatch) -> None:
    def astray(fixed, moving, **_):
        return torch.full((*fixed.shape[1:], 3), -1.0)  # a corner of the atlas, its background

    monkeypatch.setattr("neoseg.labelling.atlas.register", astray)
    sample = VolumeDataset([made.train[2]])[0]
    labels = labeller(made).predict(sample)
    np.testing.assert_array_equal(labels.codes, sample.codes.numpy())
    assert labels.note.startswith("2 of 2 fully labelled scans could not be registered to it")
    assert "0 %, 0 %" in labels.note


def test_how_much_the_outlines_of_a_scan_tell(tmp_path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 3)
    protocol = Protocol.parse(cohort.convention.space, {"name": "one", "missing": ["CSF", "GM"]})
    plan = annotate_cohort(cohort, ["full", "partial", "partial"])
    one = replace(plan.sources[0].assignments[2], protocol="one")
    source = replace(
        plan.sources[0],
        assignments=(*plan.sources[0].assignments[:2], one),
        protocols={**plan.sources[0].protocols, "one": protocol},
    )
    data = make_data(Plan.of([source]), tmp_path / "store")
    own = labeller(data)
    codes = data.train[0].entry.read_codes()
    truth = data.train[0].visible.lookup[codes] - 1
    white, background = cohort.convention.space.label_set("WM"), cohort.convention.space.background
    share = np.isin(truth, [*white]).sum() / (truth != background).sum()
    assert [own.delineated(scan) for scan in data.train] == [1.0, 1.0, pytest.approx(share)]


def test_who_shows_nothing_of_what_is_told_is_no_atlas(made) -> None:
    own = labeller(made)
    sample = VolumeDataset([made.train[2]])[0]
    known = own._known(sample.codes.numpy())
    background = made.annotated.codebook.space.background + 1
    own._counts[1] = 0
    own._counts[1, background] = 1000  # `cached_property` keeps what is changed
    assert own._alike(sample.codes.numpy(), known) == [0]
    own._counts[0] = own._counts[1]
    assert own._alike(sample.codes.numpy(), known) == [0, 1]
