"""What a setting must look like, and which settings must agree; app/config.py reads them."""
