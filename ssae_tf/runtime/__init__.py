"""What has nothing to do with images: locks, signals, streams, threads, the machine."""
