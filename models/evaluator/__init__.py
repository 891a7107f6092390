"""Evaluators: captions and motions into one space, for FID, R-precision and the other embedding metrics."""
