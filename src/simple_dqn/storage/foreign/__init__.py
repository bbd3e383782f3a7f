"""Networks that other packages trained, read without running anything that their files contain."""
