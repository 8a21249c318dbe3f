"""Planning, watching and reporting grids: what stands between Snakemake and the science."""
