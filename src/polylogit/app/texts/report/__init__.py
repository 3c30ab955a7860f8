"""A report as one page: no script, nothing from elsewhere, light and dark, to be printed.

Every plot is SVG with a text alternative. A section is a function to HTML, from what
`polylogit.app.commands.report` found and the words of a language.
"""
