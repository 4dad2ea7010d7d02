"""The topics, told as an AsyncAPI document: who may write or read there, and what is in them."""
