"""Which kernels compute a graph, in which order, and where their results lie."""
