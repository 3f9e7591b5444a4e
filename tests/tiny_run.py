"""What makes a run tiny: a phantom, patches and a network that take seconds."""

from __future__ import annotations

TINY = (
    "cohort.phantom.subjects=6",
    "cohort.phantom.spacing=5.0",
    "cohort.workers=1",
    "patches.size=[16,16,16]",
    "patches.batch_size=2",
    "patches.workers=0",
    "network.divisor=2",
    "network.net.channels=[4,8]",
    "network.net.strides=[2]",
    "window.overlap=0.0",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "+trainer.num_sanity_val_steps=0",
)
