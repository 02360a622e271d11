"""Requests, scheduling, sampling and the loop that drives a backend."""
