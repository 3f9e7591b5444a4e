from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cohort_scans import make_scan
from pydantic import ValidationError

from neoseg.cohort import Cohort, CohortError, MissingModality
from neoseg.cohort.modality import require_each, with_modalities
from neoseg.labels import Convention, LabelSpace

BOTH = ("T2w", "T1w")
T2W, T1W = Path("t2.nii.gz"), Path("t1.nii.gz")


def cohort(space: LabelSpace, *images: tuple[Path | None, ...], names=BOTH) -> Cohort:
    scans = tuple(
        replace(make_scan(f"{number}", None, 30), images=paths)
        for number, paths in enumerate(images)
    )
    return Cohort("toy", scans, Convention.identity(space), tuple(names))


@pytest.mark.parametrize("policy", ["zero", "dropout"])
def test_missing_images_pass_where_they_are_filled_in(
    space: LabelSpace, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    given = cohort(space, (T2W, T1W), (T2W, None))
    found = with_modalities(given, BOTH, MissingModality(policy=policy))  # type: ignore[arg-type]
    assert found == given
    assert "1 of 2 scans have no T1w: sub-1; zeros and a flag" in caplog.text
    assert with_modalities(given, BOTH, None) == given


def test_drop_leaves_out_the_scans_and_require_names_them(space: LabelSpace, caplog) -> None:
    given = cohort(space, (T2W, T1W), (T2W, None), (T2W, T1W))
    found = with_modalities(given, BOTH, MissingModality(policy="drop"))
    assert [scan.subject for scan in found.scans] == ["0", "2"]
    assert "1 of 3 scans have no T1w: sub-1" in caplog.text
    with pytest.raises(CohortError, match=r"1 of 3 scans have no T1w: sub-1; .*policy=drop"):
        with_modalities(given, BOTH, MissingModality(policy="require"))
    whole = cohort(space, (T2W, T1W))
    assert with_modalities(whole, BOTH, MissingModality(policy="require")) == whole


def test_drop_may_not_leave_nothing(space: LabelSpace) -> None:
    with pytest.raises(CohortError, match="1 of 1 scans have no T1w"):
        with_modalities(cohort(space, (T2W, None)), BOTH, MissingModality(policy="drop"))


@pytest.mark.parametrize("policy", ["zero", "dropout"])
def test_a_modality_that_no_scan_of_any_cohort_has_is_not_filled_in(
    space: LabelSpace, policy: str
) -> None:
    missing = MissingModality(policy=policy)  # type: ignore[arg-type]
    without, other = cohort(space, (T2W, None), (T2W, None)), cohort(space, (T2W, T1W))
    assert with_modalities(without, BOTH, missing) == without
    with pytest.raises(CohortError, match=r"of 'toy', 'toy' do[\s\S]*none of 4 scans has T1w"):
        require_each([without, without], missing)
    require_each([without, other], missing)
    require_each([without], None)


def test_a_cohort_with_fewer_modalities_or_in_another_order_fits(
    space: LabelSpace, caplog: pytest.LogCaptureFixture
) -> None:
    alone = with_modalities(
        cohort(space, (T2W,), names=["T2w"]), BOTH, MissingModality(policy="zero")
    )
    assert alone.scans[0].images == (T2W, None)
    assert alone.modalities == BOTH
    assert "is read with modalities=[T2w] alone: its scans count as without T1w" in caplog.text
    caplog.clear()
    turned = with_modalities(cohort(space, (T1W, T2W), names=["T1w", "T2w"]), BOTH, None)
    assert turned.scans[0].images == (T2W, T1W)
    assert not caplog.text


def test_scans_without_the_first_image_of_the_run_are_left_out(space: LabelSpace, caplog) -> None:
    """Whose own first modality is another, so that their reader has let them pass."""
    turned = cohort(space, (T1W, None), (T1W, T2W), names=["T1w", "T2w"])
    found = with_modalities(turned, BOTH, MissingModality(policy="zero"))
    assert [scan.images for scan in found.scans] == [(T2W, T1W)]
    assert "1 of 2 scans have no T2w: sub-0" in caplog.text
    with pytest.raises(CohortError, match="2 of 2 scans have no T2w"):
        with_modalities(cohort(space, *[(T1W, None)] * 2, names=["T1w", "T2w"]), BOTH, None)
    with pytest.raises(CohortError, match="1 of 2 scans have no T2w"):
        with_modalities(turned, BOTH, MissingModality(policy="require"))


@pytest.mark.parametrize(("names", "found"), [(["T1w"], "T1w"), (["T2w", "FLAIR"], "FLAIR")])
def test_a_cohort_that_does_not_fit(space: LabelSpace, names: list[str], found: str) -> None:
    given = cohort(space, tuple([T2W] * len(names)), names=names)
    with pytest.raises(CohortError, match=rf"does not fit the run:[\s\S]*{found}"):
        with_modalities(given, BOTH, MissingModality())


@pytest.mark.parametrize(
    ("policy", "modalities", "channels"),
    [("zero", 1, 1), ("dropout", 1, 1), ("zero", 2, 3), ("dropout", 3, 5), ("require", 2, 2)],
)
def test_channels(policy, modalities: int, channels: int) -> None:
    assert MissingModality(policy=policy).channels(modalities) == channels


@pytest.mark.parametrize("raw", [{"policy": "fill"}, {"probability": 1.1}, {"dropout": 0.5}])
def test_settings_are_checked(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MissingModality.model_validate(raw)
