"""Where data lie between runs: the cache, what is being made in it, what is fetched."""
