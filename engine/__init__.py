"""The training harness and the tasks that turn batches into losses."""
