"""Records as other programs frame them, made into facts by a map. Pure rules."""
