"""Token grids, attention, the masked and the residual transformer."""
