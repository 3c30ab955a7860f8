"""The local page: the library's numbers over HTTP; the browser only paints.

`server` is the application and its guards, `routes` what it answers, one module a panel, `value`
how a number travels with its torch expression, `export` the page without a server.
"""
