"""The graph: nodes, handles to them, recordings, closed programs."""
