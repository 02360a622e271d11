"""Measurements: of the machine, of single kernels, and of whole models beside llama.cpp."""
