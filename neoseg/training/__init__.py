"""The LightningModule, the teacher, optimisation, recipes and callbacks."""

from neoseg.borrowed import import_torchmetrics

import_torchmetrics()  # before Lightning does so
