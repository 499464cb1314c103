"""Several workers that train one model, each with a share of the data."""
