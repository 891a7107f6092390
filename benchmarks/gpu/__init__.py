"""What only a GPU can show, in one command: see `tests/gpu_check.sh`."""
