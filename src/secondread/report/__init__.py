"""What a person reads: pages in one file each."""
