"""Train segmentation networks on scans that are annotated to different depths."""

__version__ = "0.1.0"
