"""Loop references of every loss term: plain Python on lists, nothing shared with the package.

A new term needs an entry in `REFERENCES`; the tests fail with its name until it has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Leaves = frozenset[int]


@dataclass(frozen=True)
class World:
    """A batch: `logits[b][channel][voxel]`, `sets[b][voxel]`; the first classes are leaves."""

    logits: list
    teacher: list
    peer: list
    teacher_mean: list
    progress: float
    sets: list[list[Leaves]]
    classes: list[Leaves]
    num_leaves: int
    background: int
    head: str
    stream: list[int]

    def everything(self, label_set: Leaves) -> bool:
        return len(label_set) == self.num_leaves

    def state(self, cls: int, label_set: Leaves) -> int | None:
        """1 known positive, 0 known negative, None open."""
        if self.everything(label_set):
            return None
        if label_set <= self.classes[cls]:
            return 1
        return None if label_set & self.classes[cls] else 0

    def voxels(self):
        """All (item, voxel, label set)."""
        for b, item in enumerate(self.sets):
            for v, label_set in enumerate(item):
                yield b, v, label_set

    def y(self, b: int, v: int, source: str = "logits") -> list[float]:
        """Return the channels' probabilities in a voxel."""
        values = [channel[v] for channel in getattr(self, source)[b]]
        if self.head == "multilabel":
            return [1 / (1 + math.exp(-x)) for x in values]
        top = max(values)
        raised = [math.exp(x - top) for x in values]
        return [x / sum(raised) for x in raised]

    @property
    def channels(self) -> int:
        return len(self.logits[0])


@dataclass(frozen=True)
class Reference:
    """What the tests know about a term.

    `value` returns the loss. `variants` are further settings to test. `supervised` names the
    standard loss that the term equals on complete labels (see test_identity.py), "zero" or None
    where no such statement is made. `closed_gradient` holds settings under which entries with
    unknown membership get a gradient of exactly 0 (multi-label head). `decides` says that the term
    learns from another network's decisions, also where nothing is known and both agree.
    """

    value: Callable[..., float]
    variants: tuple[dict[str, Any], ...] = ()
    supervised: str | None = None
    closed_gradient: dict[str, Any] | None = None
    decides: bool = False


def bce_of(y: float, x: float) -> float:
    return -(x * math.log(y) + (1 - x) * math.log(1 - y))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def iuc(world: World) -> float:
    """Mean over voxels of the class mean, open classes as 0."""
    per_voxel = []
    for b, v, label_set in world.voxels():
        y, total = world.y(b, v), 0.0
        for c in range(len(world.classes)):
            x = world.state(c, label_set)
            if x is not None:
                total += bce_of(y[c], x)
        per_voxel.append(total / len(world.classes))
    return mean(per_voxel)


def huc(world: World) -> float:
    total, count = 0.0, 0
    for b, v, label_set in world.voxels():
        count += len(world.classes)
        if world.everything(label_set):
            continue
        y = world.y(b, v)
        best = max(label_set, key=lambda leaf: y[leaf])
        for c in range(len(world.classes)):
            if world.state(c, label_set) is None:
                total += bce_of(y[c], 1.0 if best in world.classes[c] else 0.0)
    return iuc(world) + total / count


def weight(world: World, stop_gradient: bool = False) -> float:
    total, count = 0.0, 0
    for b, v, label_set in world.voxels():
        count += len(world.classes)
        if world.everything(label_set):
            continue
        y = world.y(b, v)
        for c in range(len(world.classes)):
            if world.state(c, label_set) is None:
                total += bce_of(y[c], y[c])
    return iuc(world) + total / count


def wnorm(world: World, stop_gradient: bool = False) -> float:
    total, count = 0.0, 0
    for b, v, label_set in world.voxels():
        count += len(world.classes)
        if world.everything(label_set):
            continue
        y = world.y(b, v)
        siblings = sum(y[leaf] for leaf in label_set)
        for c in range(len(world.classes)):
            if world.state(c, label_set) is None:
                target = sum(y[leaf] / siblings for leaf in label_set & world.classes[c])
                total += bce_of(y[c], target)
    return iuc(world) + total / count


def bce(world: World) -> float:
    per_voxel = []
    for b, v, label_set in world.voxels():
        if len(label_set) == 1:
            y = world.y(b, v)
            per_voxel.append(
                mean(bce_of(y[c], world.state(c, label_set)) for c in range(len(world.classes)))
            )
    return mean(per_voxel)


def dice(
    world: World,
    include_background: bool = True,
    squared: bool = False,
    batch: bool = False,
    smooth: float = 1e-5,
) -> float:
    power = 2 if squared else 1
    items = range(len(world.sets))
    groups = [list(items)] if batch else [[b] for b in items]
    losses = []
    for group in groups:
        known = [(b, v, s) for b in group for v, s in enumerate(world.sets[b]) if len(s) == 1]
        if not known:
            continue
        per_class = []
        for c in range(world.channels):
            if c == world.background and not include_background:
                continue
            both = pred = true = 0.0
            for b, v, label_set in known:
                y, x = world.y(b, v)[c], float(label_set <= world.classes[c])
                both, pred, true = both + y * x, pred + y**power, true + x
            per_class.append(1 - (2 * both + smooth) / (pred + true + smooth))
        losses.append(mean(per_class))
    return mean(losses)


def dice_ce(world: World, dice: float = 1.0, ce: float = 1.0, **settings: Any) -> float:
    entropy = mean(
        -math.log(world.y(b, v)[next(iter(s))]) for b, v, s in world.voxels() if len(s) == 1
    )
    return dice * _dice(world, **settings) + ce * entropy


_dice = dice


def marginal_ce(world: World) -> float:
    return mean(
        -math.log(sum(world.y(b, v)[leaf] for leaf in s))
        for b, v, s in world.voxels()
        if not world.everything(s)
    )


def leaf_dice(
    world: World,
    alpha: float = 2.0,
    count_open: bool = True,
    batch: bool = False,
    smooth: float = 1e-5,
) -> float:
    items = range(len(world.sets))
    losses = []
    for group in [list(items)] if batch else [[b] for b in items]:
        known = [
            (b, v, s) for b in group for v, s in enumerate(world.sets[b]) if not world.everything(s)
        ]
        if not known:
            continue
        scores = []
        for c in range(world.num_leaves):
            hits = true = pred = 0.0
            for b, v, label_set in known:
                p = world.y(b, v)[c]
                if label_set == {c}:
                    hits, true = hits + p, true + 1
                if count_open or label_set == {c} or c not in label_set:
                    pred += p**alpha
            scores.append(2 * hits / (true + pred + smooth))
        losses.append(1 - mean(scores))
    return mean(losses)


def chosen_entries(world: World, where: str, streams: Any):
    """All (item, voxel, label set, channels) that count, voxels without a channel left out."""
    names = ("full", "partial", "unlabelled")
    wanted = names if streams == "all" else (streams,) if isinstance(streams, str) else streams
    for b, v, label_set in world.voxels():
        channels = [
            c for c in range(world.channels) if where == "all" or world.state(c, label_set) is None
        ]
        if names[world.stream[b]] in wanted and channels:
            yield b, v, label_set, channels


def mean_teacher(world: World, where: str = "all", streams: Any = "all") -> float:
    squares = []
    for b, v, _, channels in chosen_entries(world, where, streams):
        student, teacher = world.y(b, v), world.y(b, v, "teacher")
        squares += [(student[c] - teacher[c]) ** 2 for c in channels]
    return mean(squares)


def entropy_of(shares) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)


def uncertainty_teacher(
    world: World,
    where: str = "all",
    streams: Any = "all",
    threshold: float = 0.75,
    threshold_share: float = 1.0,
) -> float:
    t = min(world.progress / threshold_share, 1.0)
    limit = threshold + (1 - threshold) * math.exp(-5 * (1 - t) ** 2)
    squares = []
    for b, v, label_set, channels in chosen_entries(world, where, streams):
        student, teacher = world.y(b, v), world.y(b, v, "teacher")
        sure = [channel[v] for channel in world.teacher_mean[b]]
        for c in channels:
            if world.head == "multilabel":
                entropy, largest = entropy_of([sure[c], 1 - sure[c]]), math.log(2)
            elif where == "all":
                entropy, largest = entropy_of(sure), math.log(world.num_leaves)
            else:
                inside = [sure[leaf] for leaf in label_set]
                entropy = entropy_of([p / sum(inside) for p in inside])
                largest = math.log(len(label_set))
            if entropy < limit * largest:
                squares.append((student[c] - teacher[c]) ** 2)
    return mean(squares)


def evidence(world: World, b: int, v: int, source: str) -> list[float]:
    """Log-odds of each leaf: its logit, and with sigmoids those of the classes above it."""
    logits = [channel[v] for channel in getattr(world, source)[b]]
    if world.head == "softmax":
        return logits
    return [
        sum(logits[c] for c, members in enumerate(world.classes) if leaf in members)
        for leaf in range(world.num_leaves)
    ]


def decided(world: World, b: int, v: int, channels: list[int], leaf: int) -> list[float]:
    """Cross-entropies of the chosen channels with the target `leaf`."""
    y = world.y(b, v)
    if world.head == "softmax":
        return [-math.log(y[leaf])]
    return [bce_of(y[c], float(leaf in world.classes[c])) for c in channels]


def cross_pseudo(world: World, where: str = "unknown", streams: Any = "all") -> float:
    values = []
    for b, v, label_set, channels in chosen_entries(world, where, streams):
        scores = evidence(world, b, v, "peer")
        leaf = max(label_set, key=lambda k: scores[k])
        values += decided(world, b, v, channels, leaf)
    return mean(values)


def fixmatch(
    world: World, threshold: float = 0.95, where: str = "unknown", streams: Any = "all"
) -> float:
    values = []
    for b, v, label_set, channels in chosen_entries(world, where, streams):
        raised = {k: math.exp(evidence(world, b, v, "teacher")[k]) for k in label_set}
        leaf = max(raised, key=raised.__getitem__)
        found = decided(world, b, v, channels, leaf)
        confident = raised[leaf] / sum(raised.values()) >= threshold
        values += found if confident else [0.0] * len(found)
    return mean(values)


def focal(world: World, gamma: float = 2.0, alpha: float | None = None) -> float:
    entries = []
    for b, v, label_set in world.voxels():
        y = world.y(b, v)
        for c in range(len(world.classes)):
            x = world.state(c, label_set)
            if x is None:
                entries.append(0.0)
                continue
            q = y[c] if x else 1 - y[c]
            factor = 1.0 if alpha is None else alpha if x else 1 - alpha
            entries.append(-factor * (1 - q) ** gamma * math.log(q))
    return mean(entries)


def class_probabilities(world: World, b: int, v: int) -> list[float]:
    y = world.y(b, v)
    if world.head == "multilabel":
        return y
    return [sum(y[leaf] for leaf in members) for members in world.classes]


def tversky(
    world: World,
    alpha: float = 0.3,
    beta: float = 0.7,
    batch: bool = False,
    smooth: float = 1e-5,
) -> float:
    items = range(len(world.sets))
    losses = []
    for group in [list(items)] if batch else [[b] for b in items]:
        for c in range(len(world.classes)):
            tp = fp = fn = 0.0
            count = 0
            for b in group:
                for v, label_set in enumerate(world.sets[b]):
                    x = world.state(c, label_set)
                    if x is not None:
                        p = class_probabilities(world, b, v)[c]
                        tp, fp, fn = tp + p * x, fp + p * (1 - x), fn + (1 - p) * x
                        count += 1
            if count:
                losses.append(1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth))
    return mean(losses)


def class_masked(
    world: World,
    level: str = "item",
    published: bool = True,
    bce: float = 1.0,
    dice: float = 1.0,
    smooth: float = 1e-5,
) -> float:
    masked = set()
    for b, v, label_set in world.voxels():
        for c in range(len(world.classes)):
            if world.state(c, label_set) is None:
                masked.add((b, c, v))
                if level == "item" and not world.everything(label_set):
                    masked |= {(b, c, other) for other in range(len(world.sets[b]))}
    entropy, overlap = [], []
    for c in range(len(world.classes)):
        both = pred = true = 0.0
        count = 0
        for b, v, label_set in world.voxels():
            if (b, c, v) in masked:
                continue
            y, x = world.y(b, v)[c], world.state(c, label_set)
            entropy.append(bce_of(y, x))
            both, pred, true, count = both + y * x, pred + y, true + x, count + 1
        if count:
            overlap.append(1 - (2 * both + smooth) / (pred + true + smooth))
    if published:
        return bce * sum(entropy) / len(world.sets[0]) + dice * sum(overlap)
    return bce * mean(entropy) + dice * mean(overlap)


def marginal_dice(
    world: World, alpha: float = 2.0, batch: bool = False, smooth: float = 1e-5
) -> float:
    items = range(len(world.sets))
    losses = []
    for group in [list(items)] if batch else [[b] for b in items]:
        known = [
            (b, v, s) for b in group for v, s in enumerate(world.sets[b]) if not world.everything(s)
        ]
        if not known:
            continue
        scores = []
        for c in range(world.num_leaves):
            both = size = 0.0
            for b, v, label_set in known:
                p = world.y(b, v)
                inside = c in label_set
                f = sum(p[leaf] for leaf in label_set) / len(label_set) if inside else p[c]
                g = 1 / len(label_set) if inside else 0.0
                both, size = both + f * g, size + f**alpha + g**alpha
            scores.append(2 * both / (size + smooth))
        losses.append(1 - mean(scores))
    return mean(losses)


def marginal_focal(world: World, gamma: float = 2.0) -> float:
    values = []
    for b, v, label_set in world.voxels():
        if not world.everything(label_set):
            mass = sum(world.y(b, v)[leaf] for leaf in label_set)
            values.append(-((1 - mass) ** gamma) * math.log(mass))
    return mean(values)


def exclusion(world: World, dice: float = 1.0, ce: float = 1.0, smooth: float = 1e-5) -> float:
    overlaps, entropies = [], []
    for b, item in enumerate(world.sets):
        for c in range(world.num_leaves):
            known = [(v, s) for v, s in enumerate(item) if not world.everything(s)]
            if not any(c in s and len(s) > 1 for _, s in known):
                continue
            both = size = 0.0
            for v, label_set in known:
                p = world.y(b, v)[c]
                size += p
                if c not in label_set:
                    both, size = both + p, size + 1
                    entropies.append(math.log(1 + p))
            overlaps.append(2 * both / (size + smooth))
    return dice * mean(overlaps) + ce * mean(entropies)


def noisy_or(world: World) -> float:
    per_voxel = []
    for b, v, label_set in world.voxels():
        value = 0.0
        if len(label_set) > 1 and not world.everything(label_set):
            y = world.y(b, v)
            value = -math.log(1 - math.prod(1 - y[leaf] for leaf in label_set))
        per_voxel.append(value / len(world.classes))
    return mean(per_voxel)


def level_of(world: World, members: Leaves) -> int:
    return 1 + max(
        (level_of(world, other) for other in world.classes if other < members), default=-1
    )


def tree_min(world: World, published: bool = True, noisy_or: float = 0.0) -> float:
    levels = [level_of(world, members) for members in world.classes]
    total, voxels = 0.0, 0
    for b, v, label_set in world.voxels():
        y = world.y(b, v)
        voxels += not (published and world.everything(label_set))
        for members, level in zip(world.classes, levels, strict=True):
            count = levels.count(level) if published else len(levels)
            if world.everything(label_set):
                continue
            if label_set <= members:
                above = [y[a] for a, other in enumerate(world.classes) if members <= other]
                total -= math.log(min(above)) / count
            elif not label_set & members:
                below = [y[d] for d, other in enumerate(world.classes) if other <= members]
                total -= math.log(1 - max(below)) / count
    anywhere = sum(map(len, world.sets))
    return (total + noisy_or * _noisy_or(world) * anywhere) / max(voxels, 1)


_noisy_or = noisy_or


def wasserstein_dice(
    world: World, distance: str = "hierarchy", batch: bool = False, smooth: float = 1e-5
) -> float:
    """Distances are kept in single precision."""
    leaves = range(world.num_leaves)

    def raw(k: int, other: int) -> float:
        if distance == "uniform":
            return float(k != other)
        a = {c for c, members in enumerate(world.classes) if k in members}
        b = {c for c, members in enumerate(world.classes) if other in members}
        return 1 - len(a & b) / len(a | b)

    largest = max(raw(k, other) for k in leaves for other in leaves)
    items = range(len(world.sets))
    losses = []
    for group in [list(items)] if batch else [[b] for b in items]:
        hits = errors = 0.0
        known = [
            (b, v, s) for b in group for v, s in enumerate(world.sets[b]) if not world.everything(s)
        ]
        if not known:
            continue
        for b, v, label_set in known:
            p = world.y(b, v)
            cost = sum(
                p[k] * float(np.float32(min(raw(k, other) for other in label_set) / largest))
                for k in leaves
            )
            errors += cost
            if world.background not in label_set:
                hits += 1 - cost
        losses.append(1 - (2 * hits + smooth) / (2 * hits + errors + smooth))
    return mean(losses)


REFERENCES = {
    "iuc": Reference(iuc, supervised="bce", closed_gradient={}),
    "huc": Reference(huc, supervised="bce"),
    "weight": Reference(weight, ({"stop_gradient": True},), supervised="bce"),
    "wnorm": Reference(wnorm, ({"stop_gradient": True},), supervised="bce"),
    "bce": Reference(bce, supervised="bce", closed_gradient={}),
    "dice": Reference(
        dice,
        ({"squared": True, "smooth": 1.0}, {"batch": True}, {"include_background": False}),
        supervised="dice",
        closed_gradient={},
    ),
    "dice_ce": Reference(
        dice_ce,
        ({"dice": 0.5, "ce": 2.0, "batch": True, "include_background": False},),
        supervised="dice_ce",
    ),
    "marginal_ce": Reference(marginal_ce, supervised="ce"),
    "leaf_dice": Reference(
        leaf_dice,
        ({"alpha": 1.0, "count_open": False}, {"batch": True, "smooth": 1.0}),
        supervised="squared_dice",
    ),
    "mean_teacher": Reference(
        mean_teacher,
        (
            {"where": "unknown"},
            {"streams": "unlabelled"},
            {"streams": ["full", "partial"], "where": "unknown"},
        ),
    ),
    "uncertainty_teacher": Reference(
        uncertainty_teacher,
        (
            {"where": "unknown", "threshold": 0.6},
            {"where": "unknown", "streams": "partial", "threshold_share": 0.125},
            {"threshold": 0.3, "threshold_share": 0.9},
        ),
    ),
    "cross_pseudo": Reference(
        cross_pseudo, ({"where": "all"}, {"streams": ["partial", "unlabelled"]}), decides=True
    ),
    "fixmatch": Reference(
        fixmatch,
        ({"threshold": 0.6}, {"threshold": 0.8, "where": "all", "streams": "unlabelled"}),
        decides=True,
    ),
    "focal": Reference(
        focal,
        ({"gamma": 0.5, "alpha": 0.25}, {"gamma": 0.0}),
        supervised="sigmoid_focal",
        closed_gradient={},
    ),
    "tversky": Reference(
        tversky,
        ({"alpha": 0.5, "beta": 0.5, "batch": True, "smooth": 1.0},),
        supervised="tversky",
        closed_gradient={},
    ),
    "class_masked": Reference(
        class_masked,
        ({"level": "voxel", "published": False, "bce": 0.5, "dice": 2.0},),
        supervised="class_sums",
        closed_gradient={},
    ),
    "marginal_dice": Reference(
        marginal_dice, ({"alpha": 1.0, "batch": True, "smooth": 1.0},), supervised="squared_dice"
    ),
    "marginal_focal": Reference(
        marginal_focal, ({"gamma": 0.5}, {"gamma": 0.0}), supervised="softmax_focal"
    ),
    "exclusion": Reference(exclusion, ({"dice": 0.5, "ce": 2.0},), supervised="zero"),
    "noisy_or": Reference(noisy_or, supervised="zero"),
    "tree_min": Reference(tree_min, ({"published": False, "noisy_or": 1.0},), closed_gradient={}),
    "wasserstein_dice": Reference(
        wasserstein_dice,
        ({"distance": "uniform"}, {"batch": True, "smooth": 1.0}),
        supervised="wasserstein_dice",
    ),
}
