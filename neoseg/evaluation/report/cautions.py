"""Warnings that a report shows before any number."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import pandas as pd

from neoseg.evaluation.report.arms import MEAN_OF_LEAVES
from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.table import SCAN
from neoseg.findings.problems import shorten
from neoseg.foreign import CONFIG, ForeignError, read_config, value_at

PLAN_FILE = "plan.yaml"
"""What a run planned for itself, in its folder."""

FEW_SUBJECTS = 5
"""Number of test subjects below which the report warns."""

OTHER_TRUTH = 0.001
"""Relative difference of a structure's volume in one scan that is no rounding."""

UNEQUAL = 0.1
"""Smallest difference between shares of scans in which arms invent a structure."""


def cautions(comparison: Comparison) -> list[str]:
    """Return warnings about results that cannot be compared or rest on few subjects."""
    frame = comparison.frame
    return [
        *_different_contents(frame),
        *_several_cohorts(frame),
        *_unequal_scans(frame),
        *_different_truths(frame),
        *_repeated_trainings(comparison.collected.repeated),
        *_duplicate_runs(frame, comparison.collected.repeated),
        *_different_plans(comparison),
        *_different_registrations(comparison),
        *_different_inventions(frame),
        *_few_subjects(comparison.summary),
    ]


def _different_contents(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if draws of arms were scored on different scans or structures.

    The folds of a cross-validation count together.
    """
    leaves = frame[frame["is_leaf"]]
    for noun, columns, remedy in (
        (
            "scans",
            list(SCAN),
            "their means are over different people, and only pairs on shared scans say how they "
            "compare; give all of them one split",
        ),
        (
            "structures",
            ["abbreviation"],
            "their means are over different structures; compare single structures",
        ),
    ):
        contents = {
            (str(arm), draw, seed): {*part[columns].itertuples(index=False, name=None)}
            for (arm, draw, seed), part in leaves.groupby(["arm", "draw", "seed"], sort=False)
        }
        if not contents:
            return
        shared = reduce(set.intersection, contents.values())
        if any(len(content) > len(shared) for content in contents.values()):
            sizes = {f"{arm}: {len(content)}" for (arm, *_), content in contents.items()}
            yield (
                f"Runs were scored on different {noun} ({shorten(sorted(sizes))}; shared by all: "
                f"{len(shared)}): {remedy}."
            )


def _several_cohorts(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the mean Dice of the leaves in each cohort, if there are several in the test."""
    leaves = frame[frame["is_leaf"]]
    scans = leaves[list(SCAN)].drop_duplicates()["cohort"].value_counts(sort=False)
    if len(scans) > 1:
        means = leaves.groupby(["arm", "cohort"], sort=False)["dice"].mean()
        each = (
            f"{arm}: " + ", ".join(f"{dice:.3f} in {name}" for name, dice in part.loc[arm].items())
            for arm, part in means.groupby(level=0, sort=False)
        )
        counts = ", ".join(f"{name} ({number} scans)" for name, number in scans.items())
        yield (
            f"Scans of several cohorts count together: {counts}. Mean Dice of the leaves in each: "
            f"{'; '.join(each)}."
        )


def _unequal_scans(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the means over structures if the labels of some scans show few of them."""
    shown = frame[frame["is_leaf"] & (frame["truth_ml"] > 0)]
    counts = shown.groupby([*SCAN], dropna=False)["abbreviation"].nunique()
    if len(counts) and 2 * counts.min() <= counts.max():
        means = shown.groupby(["arm", "abbreviation"], sort=False)["dice"].mean()
        each = ", ".join(
            f"{arm} {dice:.3f}" for arm, dice in means.groupby(level=0, sort=False).mean().items()
        )
        yield (
            f"The labels of some scans show {counts.min()} structures, those of others "
            f"{counts.max()}: '{MEAN_OF_LEAVES}' is the mean over scans of what each shows, so a "
            "scan of few structures counts as much as one of many, and arms may change places. "
            f"Mean over structures, of the scans that show each: {each}."
        )


def _different_truths(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if runs were scored against different labels of the same scans.

    Where only super-classes differ, they hold other leaves.
    """
    volumes = frame.groupby([*SCAN, "is_leaf", "abbreviation"], sort=False, dropna=False)
    extremes = volumes["truth_ml"].agg(["min", "max"])
    differing = extremes[extremes["max"] - extremes["min"] > OTHER_TRUTH * extremes["max"]]
    is_leaf = differing.index.get_level_values("is_leaf").to_numpy(dtype=bool)
    other, classes = differing[is_leaf], differing[~is_leaf]
    if len(classes) and not len(other):
        name, (low, high) = classes.index[0][-1], classes.iloc[0]
        names = shorten(sorted(set(classes.index.get_level_values(-1))))
        yield (
            f"The label tables of the runs give other leaves to {names}: in one scan {name} has "
            f"{low:.4g} and {high:.4g} ml. Its scores cannot be compared. Give all runs one table."
        )
    if len(other):
        name, (low, high) = other.index[0][-1], other.iloc[0]
        scans = len(other.groupby(level=[0, 1, 2], dropna=False))
        yield (
            f"The truth differs between runs in {scans} scans (such as {name} of {low:.4g} and of "
            f"{high:.4g} ml): label files, or what their integers mean, have changed. Score all "
            "runs with the same labels (neoseg.evaluate)."
        )


def _repeated_trainings(groups: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a warning for each group of runs that are one training."""
    for runs in groups:
        yield (
            f"{len(runs)} runs ({shorten(runs)}) are one training: their settings, seed and "
            "annotated people are the same. They count as one draw. Give each a seed of its own "
            "(seed='${annotation.draw}')."
        )


def _duplicate_runs(frame: pd.DataFrame, known: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a warning for each group of runs of an arm with identical scores, unless `known`."""
    leaves = frame[frame["is_leaf"]].sort_values([*SCAN, "abbreviation"])
    runs_of: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for run, part in leaves.groupby("run", sort=False):
        key = (str(part["arm"].iloc[0]), tuple(part["dice"].fillna(-1.0)))
        if len(set(key[1])) > 1:  # networks that find nothing all have the same scores
            runs_of.setdefault(key, []).append(str(run))
    for (arm, _), runs in runs_of.items():
        if len(runs) > 1 and not any(set(runs) <= set(group) for group in known):
            yield (
                f"{len(runs)} runs of {arm} have the very same scores ({shorten(runs)}): they are "
                "one training, such as of draws that chose the same people with the same seed, and "
                "count as if they were several. Keep one of them, or give each a seed of its own "
                "(seed='${annotation.draw}')."
            )


def _different_plans(comparison: Comparison) -> Iterator[str]:
    """Yield a warning if arms were trained with different sizes because each planned its own."""
    arms = comparison.frame.drop_duplicates("run").set_index("run")["arm"]
    sizes: dict[str, set[str]] = {}
    for name, run in comparison.runs.items():
        if not (run.path / PLAN_FILE).is_file():
            continue
        try:
            config = read_config(run.path / CONFIG)
        except ForeignError:
            continue
        keys = ("patches.size", "patches.batch_size", "patches.steps_per_epoch")
        patch, batch, steps = (value_at(config, key) for key in keys)
        lengths = "x".join(map(str, patch)) if isinstance(patch, list) else "?"
        epochs = value_at(config, "trainer.max_epochs")
        text = f"{epochs} x {steps} steps of {batch} patches of {lengths}"
        sizes.setdefault(str(arms[name]), set()).add(text)
    if len(set(map(frozenset, sizes.values()))) > 1:
        listed = "; ".join(f"{arm}: {', '.join(sorted(texts))}" for arm, texts in sizes.items())
        yield (
            f"Arms were trained with different sizes, planned for each by itself ({listed}): "
            "their scores differ by these as well as by the method. Give all of them one plan "
            "(plan=FILE)."
        )


def _different_registrations(comparison: Comparison) -> Iterator[str]:
    """Yield a warning if versions of neoseg that register otherwise made runs with atlases."""
    runs: dict[str, list[str]] = {}
    for name, run in comparison.runs.items():
        method = (run.record.get("versions") or {}).get("registration")
        if method is None:
            try:
                config = read_config(run.path / CONFIG)
            except ForeignError:
                continue
            if value_at(config, "recipe.teacher") not in ("atlas", "source_atlas"):
                continue
            method = "not recorded"
        runs.setdefault(str(method), []).append(name)
    if len(runs) > 1:
        listed = "; ".join(f"{method}: {shorten(names)}" for method, names in runs.items())
        yield (
            "Runs were made by versions of neoseg that register full scans in other ways, so that "
            f"their pseudo-labels differ (registration {listed}). Train the earlier ones anew."
        )


def _different_inventions(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if arms invent structures in unequal shares of the scans without them.

    A scan in which an arm rightly finds nothing has no Dice, so neither means nor tests count it.
    """
    lacking = frame[frame["is_leaf"] & (frame["truth_ml"] == 0)]
    unequal = []
    for name, part in lacking.groupby("abbreviation", sort=False):
        invented = part.groupby("arm", sort=False)["invented"].agg(["sum", "size"])
        shares = invented["sum"] / invented["size"]
        if shares.max() - shares.min() >= UNEQUAL:
            counts = (f"{arm}: {row['sum']} of {row['size']}" for arm, row in invented.iterrows())
            unequal.append(f"{name} ({'; '.join(counts)})")
    if unequal:
        yield (
            "Arms invent structures unequally in scans whose truth lacks them: "
            f"{shorten(unequal)}. A scan in which nothing was rightly found has no Dice and takes "
            "no part in means and tests, so these do not show the difference."
        )


def _few_subjects(summary: pd.DataFrame) -> Iterator[str]:
    """Yield a warning if an age group has few test subjects."""
    counts = summary.groupby("age_group", sort=False)["subjects"].max()
    few = [f"{group} scans {count}" for group, count in counts.items() if count < FEW_SUBJECTS]
    if few:
        yield (
            f"Few test subjects ({', '.join(few)}): below {FEW_SUBJECTS} subjects, differences "
            "say little of others."
        )
