"""What runs in the child: reads headers, looks at pixels, trusts nothing.

The child starts this package under the name `readers`, beside nothing else of the project: it imports no Django, reads
no settings and knows no secrets. What it needs comes with each request.
"""
