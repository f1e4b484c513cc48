"""What `asyncray microbenchmark` measures."""
