"""The kinds of problems that data can have, by a code that stays the same between versions."""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    # files
    "missing-file": "Files that are not there",
    "unreadable-file": "Files that may not be read",
    "empty-file": "Files without content",
    "not-nifti": "Files that are not NIfTI",
    "truncated-file": "Files that end too early",
    "damaged-gzip": "Compressed files whose content does not fit their checksum",
    "outside-root": "Files and ids that leave the cohort's folder",
    # images
    "dimensions": "Images that are not one 3D volume",
    "trailing-axis": "Images with a fourth axis of length 1",
    "no-numbers": "Images whose voxels are not numbers",
    "not-finite": "Images with NaN or infinite voxels",
    "constant-image": "Images that are the same everywhere",
    "outlying-voxels": "Images with voxels far beyond all others",
    "cropped-labels": "Labels outside of what is kept of the image",
    "singular-affine": "Affines without a voxel size",
    "absent-affine": "Headers without any affine",
    "voxel-size": "Voxel sizes that no scanner has",
    "header-forms": "Headers whose sform and qform contradict each other",
    "header-sizes": "Headers whose units or voxel sizes contradict each other",
    "header-type": "Headers whose datatype and bitpix contradict each other",
    "trailing-bytes": "Files that hold more than their headers announce",
    "mixed-voxel-sizes": "Scans of several voxel sizes",
    "grid-shape": "Files of one scan with different shapes",
    "grid-affine": "Files of one scan that lie in different places",
    "mask": "Brain masks that cannot be used",
    "duplicate-image": "One image under several names",
    "duplicate-labels": "One label map for several scans",
    # labels
    "label-values": "Label values outside the table",
    "label-fractions": "Label values that are not whole",
    "label-rounding": "Label values that are whole but for rounding",
    "label-scaling": "Label files whose header scales the numbers",
    "empty-labels": "Label files without any structure",
    "untold-labels": "Label files that tell nothing",
    "leaf-never-shown": "Structures that no scan shows",
    "structure-not-drawn": "Structures that some scans show and others do not",
    "unpaired-sides": "Left and right structures that the label table does not pair",
    "class-never-annotated": "Classes that no protocol annotates",
    "contradicted-annotation": "Label files that tell more than their annotation is said to",
    "label-meaning": "Names and values that the label table lacks",
    "label-tables": "Tables of names that contradict each other",
    "guessed-meaning": "Label files that no table of names covers",
    "no-labels": "Scans without labels",
    # scans and tables
    "missing-image": "Sessions without the image that is asked for",
    "several-files": "Sessions with several files that would do",
    "foreign-file": "Files that belong to another scan",
    "no-images": "Sessions without images",
    "duplicate-scan": "Subjects or sessions that occur twice",
    "alike-ids": "Subjects whose ids are nearly the same",
    "mixed-releases": "Releases mixed in one folder",
    "bad-table": "Tables that cannot be read",
    "duplicate-row": "Rows of a table that occur twice",
    "row-without-files": "Rows of a table without files",
    "files-without-row": "Files without a row in the table",
    "missing-age": "Ages that are not known",
    "impossible-age": "Ages that cannot be",
    "left-out": "Scans that a filter leaves out",
    "no-scans": "Cohorts without scans",
    # the prepared store, the plan, the configuration
    "damaged-entry": "Entries of the store that were damaged and built again",
    "plan": "Splits and annotation plans that cannot be",
    "setting": "Settings that do not fit",
}
"""Code and title of each kind, in the order in which a report lists them."""
