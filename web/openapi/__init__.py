"""The document that describes all calls, `/openapi.json`, and what is made of it: `/`, `/docs`."""
