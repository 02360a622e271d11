// Compiled once per SIMD target.
