"""What a shop is told of its stock: levels that rules watch, each told once by a webhook."""
