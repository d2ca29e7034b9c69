"""Row E: the motion of a history in steps of the bfloat16 lattice."""
