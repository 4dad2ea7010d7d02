"""Topics and changelogs as other clients write and read them, or as memory plays them."""
