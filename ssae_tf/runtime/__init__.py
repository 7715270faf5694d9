"""What has nothing to do with images: progress, files, threads, streams."""
