"""What is on the disk: guarded readers, whole writes, locks. Of ours it knows errors and progress bars alone."""
