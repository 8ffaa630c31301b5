"""Google Cloud Storage for tests: fake-gcs-server, behind a front that refuses what Google refuses.

fake-gcs-server keeps the objects and checks no token. The front is a token endpoint, a Security
Token Service, and both APIs of Cloud Storage; it lets through what the token's boundary allows and
nothing that it does not know.
"""
