"""Find the scans to segment among the files of a folder."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from neoseg.cohort.folders import FOLDERS, PIPELINE_FOLDERS, has_subjects
from neoseg.cohort.formats import APART, ENDINGS, dicom_line, is_volume, stem_of
from neoseg.cohort.freesurfer import TEMPLATE_PREFIX, is_in_subject
from neoseg.cohort.nnunet import channels_of
from neoseg.files import files_below
from neoseg.findings.command_line import override
from neoseg.findings.problems import shorten
from neoseg.inference.image_choice import choose_desc, in_space, of_entities
from neoseg.inference.image_names import (
    Naming,
    ScanFiles,
    by_folder,
    first_beside,
    parse_all,
    with_partners,
    without_first,
)
from neoseg.inference.unnamed import (
    only_kind,
    plain_collection,
    warn_of_modality,
    warn_of_unnamed,
)
from neoseg.store import DataError

log = logging.getLogger(__name__)


def find_scans(
    path: Path,
    modalities: Sequence[str],
    desc: str | None = None,
    naming: Naming | None = None,
) -> list[ScanFiles]:
    """Return the scans in a file or folder, sorted.

    A file is one scan. In a dHCP tree of any release, or another folder of BIDS sessions, only the
    images in `sub-*/[ses-*/]anat` are scans; in other folders, every file at any depth whose name
    ends in the first modality (`_T2w.nii.gz`, `-T2w.nii.gz`). A folder without such names is a
    plain collection, in which every volume is a scan except label maps and masks (`NO_SCANS`). In a
    subjects directory of FreeSurfer, only files in `SUBJECT/mri` are scans, without those of
    fsaverage, and their names have to say which. nnU-Net's channel numbers at the end of names
    (`CASE_0000.nii.gz`) are mapped to modalities by the `dataset.json` of the folder, or in order
    if the network has several and there is none.

    Files that differ only in `desc-` are one scan; in BIDS sessions also those that differ in
    `space-`, of which the native one is used. Of images that differ in other entities, those are
    used that a training with `naming` would take, if there are any. The other modalities are files
    of the same name except for modality, `desc-` and `space-`; preferably those in the space of the
    first modality, then those with the same `desc-`.

    Args:
        path: a volume or a folder.
        modalities: of the network, in order.
        desc: which of several images to use, "none" for the one without `desc-`. None selects
            that of `naming`, else the bias-corrected one (`desc-restore`), else the one without
            `desc-`, else the only one.
        naming: of the images that the network was trained on; its `space` is preferred over native
            images.

    Raises:
        DataError: `path` does not exist, has no image, or several candidates for a scan; names that
            do not say which image of a scan is which, for a network with several modalities.
        CohortError: a `dataset.json` with other channels.
    """
    naming = naming or Naming()
    if path.is_file():
        return [_scan_of_file(path, modalities, naming)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a file or a folder as input")
    trees = (path / folder for folder in PIPELINE_FOLDERS)
    base = next((folder for folder in trees if has_subjects(folder)), None)
    files = _volumes_in(path, base)
    subjects = [file for file in files if is_in_subject(file)]
    folders_of = {file.parent.parent for file in subjects}
    if any(folders_of.isdisjoint(file.parents) for file in files):  # there are other scans as well
        subjects = []
    if subjects:
        files = [f for f in subjects if not f.parent.parent.name.startswith(TEMPLATE_PREFIX)]
        if not files:
            raise DataError(
                f"{path} has no subject but {TEMPLATE_PREFIX}; name a file to segment it"
            )
    channels = channels_of(files, modalities, naming.names)
    words = naming.words(modalities, channels)
    all_images = parse_all(files, words)
    images = of_entities(all_images, modalities[0], naming.entities)
    folders = by_folder(images)
    firsts = [image for image in images if image.modality == modalities[0]]
    firsts = firsts if base is None else in_space(firsts, naming.space)
    chosen = choose_desc(firsts, desc, naming.desc)
    if chosen and base is None and not subjects:
        named = [file for file in files if stem_of(file).rpartition("_")[2] not in channels]
        warn_of_unnamed(named, all_images, modalities[0])
    if chosen:
        if base is not None:
            wanted = modalities[0] + (f" with desc {desc}" if desc else "")
            _warn_of_sessions(base, files, {image.path.parent for image in chosen}, wanted)
        elif alone := without_first(images, modalities[0]):
            log.warning(
                "%d images have no %s beside them and are left out: %s",
                *(len(alone), modalities[0], shorten(file.name for file in alone)),
            )
        return [
            with_partners(image.path, folders[image.path.parent], modalities, words)
            for image in chosen
        ]
    if base is not None and (kind := only_kind(files, modalities)):
        log.warning("images called %s are taken as %s", kind, modalities[0])
        return find_scans(path, [kind], desc, naming)
    if base is not None or desc is not None:
        expected = f"*_{modalities[0]}.nii.gz" + (f" with desc {desc}" if desc else "")
        raise DataError(
            f"{base or path} has {len(files)} volumes, and none is {expected}, which the run was "
            "trained on; name a file, or the folder that holds such images"
        )
    if subjects:
        image = "T2" if "t2" in modalities[0].casefold() else "T1"
        called = override("names", f"{{{modalities[0]}: {image}}}")
        raise DataError(
            f"{path} is a subjects directory of FreeSurfer, and no file is called {modalities[0]}; "
            f"say which one is that image, such as by {called}"
        )
    plain = plain_collection(path, files, images, modalities, words)
    return [with_partners(file, folders.get(file.parent, ()), modalities, words) for file in plain]


def _warn_of_sessions(
    base: Path, files: Sequence[Path], used: Collection[Path], first: str
) -> None:
    """Warn of the sessions of a tree of which nothing is segmented, with what is there instead."""
    sessions = {folder for pattern in FOLDERS for folder in base.glob(pattern) if folder.is_dir()}
    there = {folder: list[str]() for folder in sorted(sessions.difference(used))}
    for file in files:
        if file.parent in there:
            there[file.parent].append(stem_of(file).rpartition("_")[2])
    if there:
        names = (
            f"{folder.relative_to(base).parent} ({shorten(dict.fromkeys(ends), 3) or 'no volume'})"
            for folder, ends in there.items()
        )
        log.warning(
            "%d of %d sessions have no %s and are left out: %s",
            *(len(there), len(sessions), first, shorten(names)),
        )


def _scan_of_file(path: Path, modalities: Sequence[str], naming: Naming) -> ScanFiles:
    """Return the scan whose first modality is a file, with its partners in the same folder.

    Raises:
        DataError: by its name it is another modality of a scan whose first one is there.
    """
    beside = [file for file in path.parent.iterdir() if is_volume(file)]
    words = naming.words(modalities, channels_of([path, *beside], modalities, naming.names))
    images = parse_all(beside, words)
    if (first := first_beside(path, images, modalities[0])) is not None:
        raise DataError(f"{path} goes with {first.name}; name that one, and both are used")
    warn_of_modality([path], modalities, words)
    return with_partners(path, images, modalities, words)


def _volumes_in(path: Path, base: Path | None) -> list[Path]:
    """Return the volumes in the BIDS sessions of `base`, or anywhere below `path`, sorted.

    Raises:
        DataError: there are none.
    """
    if base is None:
        candidates = list(files_below(path))
    else:
        candidates = [file for folder in FOLDERS for file in base.glob(f"{folder}/*")]
    files = sorted(file for file in candidates if is_volume(file) and file.is_file())
    if lost := sorted(f for f in candidates if is_volume(f) and f.is_symlink() and not f.exists()):
        log.warning(
            "%d files such as %s are broken links and are left out; fetch what they lead to "
            "(DataLad: datalad get)",
            len(lost),
            lost[0],
        )
    if detached := [file for file in candidates if file.suffix.lower() in APART]:
        log.warning(
            "%d files such as %s are left out, since their voxels lie in others; convert them to "
            ".mha or .nrrd",
            len(detached),
            min(detached),
        )
    if not files:
        line = dicom_line(path)
        raise DataError(
            f"{base or path} holds DICOM files; convert them: {line}"
            if line
            else f"{base or path} has no file that ends in {' or '.join(ENDINGS)}"
        )
    return files
