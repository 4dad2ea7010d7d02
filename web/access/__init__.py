"""Who may call what: tokens with scopes, and workers that prove to be workers."""
