"""Is a dataset folder whole and plausible? `python -m data.check --dataset_name humanml3d` says so in words."""
