"""What plugins move content with, over the network and into files; the core itself does without."""
