"""Each setting's value, its form, and which settings must agree; app/config.py reads them."""
