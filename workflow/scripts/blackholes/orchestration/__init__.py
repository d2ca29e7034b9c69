"""What rules may import: digests of code, packing, locks. Imports no torch."""
