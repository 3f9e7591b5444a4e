"""The numbers behind a report: runs of a sweep, summaries of their arms, and comparisons."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from pydantic import Field

from neoseg.evaluation.budget import label_budget
from neoseg.evaluation.report.arms import summarise_arms, with_arms
from neoseg.evaluation.report.cases import Case, choose_cases
from neoseg.evaluation.report.collect import Collected, collect
from neoseg.evaluation.report.contrasts import MARGIN, compare_arms
from neoseg.evaluation.report.intervals import LEVEL
from neoseg.evaluation.report.plate import PlateSettings, plate_case
from neoseg.evaluation.report.run_files import FinishedRun
from neoseg.evaluation.report.sharing import shared_runs
from neoseg.findings.privacy import Privacy
from neoseg.findings.settings import Section


class ReportSettings(Section):
    """How runs are compared and what the page contains; keys of `conf/report.yaml`."""

    experiments: tuple[str, ...] | None = Field(default=None, description="only these; null: all")
    full_fractions: tuple[float, ...] | None = Field(
        default=None, description="only these shares of fully labelled subjects; null: all"
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="patterns of keys that may differ between the runs of an arm"
    )
    reference: str = Field(default="supervised", description="others are compared with it")
    full: str = Field(default="full_supervision", description="what others are to come near to")
    margin: float = Field(
        default=MARGIN, gt=0, lt=1, description="of Dice, below which a difference is none"
    )
    level: float = Field(default=LEVEL, gt=0, lt=1, description="coverage of the intervals")
    seed: int = Field(default=0, ge=0, description="of the permutations")
    slices: int = Field(default=24, ge=1, description="at most, along each axis of a case")
    megabytes: float = Field(default=12.0, ge=0, description="of the page's cases, at most")
    plate: PlateSettings = PlateSettings()


@dataclass(frozen=True)
class Comparison:
    """The numbers of a report.

    Attributes:
        collected: the runs and their scores.
        settings: how runs are compared.
        frame: the scores with arms and means over structures, from `with_arms`.
        summary: summaries of the arms, from `summarise_arms`.
        tests: comparisons of pairs of arms, from `compare_arms`.
        cases: the worst and the median scan of each arm.
        plate: the scan of the figure for a paper; None if no scan has a score.
    """

    collected: Collected
    settings: ReportSettings
    frame: pd.DataFrame
    summary: pd.DataFrame
    tests: pd.DataFrame
    cases: tuple[Case, ...]
    plate: Case | None

    @property
    def runs(self) -> dict[str, FinishedRun]:
        """The finished runs by name."""
        return {run.name: run for run in self.collected.runs}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per run: arm, draw, seed, mean Dice, cost and label budget; or `left_out`."""
        keys = self.frame.drop_duplicates("run").set_index("run")[["arm", "draw", "seed"]]
        leaves = self.collected.scores[self.collected.scores["is_leaf"]]
        dice = leaves.groupby(["run", "abbreviation"])["dice"].mean().groupby(level="run").mean()
        rows = []
        for run in self.collected.runs:
            energy = run.record.get("energy_joules") or {}
            costs = ("steps", "seconds", "peak_memory_gib", "peak_gpu_memory_gib")
            rows.append(
                {"run": run.name, **keys.loc[run.name].to_dict(), "dice": dice.get(run.name)}
                | {key: run.record.get(key) for key in costs}
                | {"processor_joules": energy.get("processors"), "gpu_joules": energy.get("gpus")}
                | {"device": run.record.get("device"), "data": run.record.get("data")}
                | label_budget(run.path / "annotation.csv")
                | {"left_out": None}
            )
        left_out = self.collected.unfinished
        rows += [{"run": str(left.path), "left_out": left.reason} for left in left_out]
        return pd.DataFrame(rows)

    @property
    def about(self) -> str:
        """A sentence with the numbers of runs, arms, scans and subjects."""
        scans = self.collected.scores.drop_duplicates(["subject", "session"])
        unfinished = len(self.collected.unfinished)
        text = (
            f"{len(self.runs)} finished runs in {self.frame['arm'].nunique()} arms, scored on "
            f"{len(scans)} scans of {scans['person'].nunique()} subjects"
        )
        if not unfinished:
            return f"{text}."
        left_out = "run is" if unfinished == 1 else "runs are"
        return f"{text}; {unfinished} unfinished {left_out} left out."


def compare(runs: Path, settings: ReportSettings, privacy: Privacy = "none") -> Comparison:
    """Collect the finished runs below a folder and compare their arms.

    `privacy` sets what the numbers and texts of the comparison leave out.

    Raises:
        ReportError: if there is no finished run.
    """
    collected, files = shared_runs(
        collect(runs, settings.experiments, settings.full_fractions, settings.ignore), runs, privacy
    )
    frame = with_arms(collected.scores)
    options = settings.model_dump(include={"level", "seed", "reference", "full", "margin"})
    cases = tuple(choose_cases(frame, files))
    return Comparison(
        collected=collected,
        settings=settings,
        frame=frame,
        summary=summarise_arms(frame, level=settings.level),
        tests=compare_arms(frame, **options),
        cases=cases,
        plate=plate_case(frame, cases, files, settings.plate, settings.reference),
    )
