"""The small label space of the small cohort."""

from small_cohort import small_space_fixture  # noqa: F401
