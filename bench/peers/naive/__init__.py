"""What the Faust tutorial would have us write: quick to read, wrong after a crash."""
