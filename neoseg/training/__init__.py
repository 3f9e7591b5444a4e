"""The LightningModule, the teacher, optimisation and callbacks."""

from neoseg.training.module import MONITOR, SegmentationModule, plain_label_sets
from neoseg.training.teacher import Teacher, TeacherSettings

__all__ = ["MONITOR", "SegmentationModule", "Teacher", "TeacherSettings", "plain_label_sets"]
