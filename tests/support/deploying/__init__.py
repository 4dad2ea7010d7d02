"""What deploy/ says, made and tried without the systems it is for."""
