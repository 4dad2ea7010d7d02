"""Answer over HTTP; knows tables and domain, not Faust."""
