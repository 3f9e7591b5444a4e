"""The LightningModule, the teacher, optimisation, recipes and callbacks."""
