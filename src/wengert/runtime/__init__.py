"""Compiled code at run time: objects from LLVM IR, their cache, threads, and calls into them."""
