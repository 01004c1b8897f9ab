"""Readers of made-up photos."""

import torch


class OnePhoto:
    """A reader of one photo, of any size and ground sampling distance."""

    name = "rid"

    def __init__(self, size_px=64, gsd_m=0.1):
        self.size_px, self.gsd_m = size_px, gsd_m
        self.span_m = size_px * gsd_m
        self.spans_m = []

    def __len__(self):
        return 1

    def draw(self, index, span_m, _rng):
        assert index == 0
        self.spans_m.append(span_m)
        size = (self.size_px, self.size_px)
        lines = torch.zeros(4, *size, dtype=torch.uint8)
        lines[1, self.size_px // 2] = 1
        return {
            "image": torch.full((3, *size), 120, dtype=torch.uint8),
            "segments": torch.full(size, 3, dtype=torch.uint8),
            "lines": lines,
            "depth": torch.full(size, 4.0),
            "superstructures": torch.full(size, 8, dtype=torch.uint8),
            "dataset": "rid",
            "sample_id": "7",
            "gsd_m": self.gsd_m,
        }
