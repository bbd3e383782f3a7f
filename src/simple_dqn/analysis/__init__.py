"""Looking at results: plots of the statistics, and into the filters of a network."""
