"""People in the scores of a run that was tested on several cohorts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from neoseg.cohort.scan import person_of
from neoseg.foreign import value_at


def people_of(scores: pd.DataFrame, config: Mapping[str, Any]) -> pd.Series:
    """Return for each row of the scores of a run whose scan it is of, as "cohort/subject".

    Equal ids of several cohorts are one person, named after one of these cohorts, unless the run
    has `leaks=namesakes`, or does not say.
    """
    own = scores["cohort"] + "/" + scores["subject"]
    namesakes = value_at(config, "leaks") not in ("stop", "tell")
    if namesakes or scores["cohort"].nunique() < 2:
        return own
    return own.groupby(scores["subject"].map(person_of)).transform("min")
