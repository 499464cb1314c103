"""One adapter on a pretrained model learns real text, task after task."""
