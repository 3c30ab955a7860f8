"""`polylogit tour`."""

from __future__ import annotations

from polylogit.app.doors.options import Json, Language, checked_language, print_json


def tour(lang: Language = "en", as_json: Json = False) -> None:
    """Run the lesson's training cells on its eight rows, and say why their costs differ."""
    checked_language(lang)
    from polylogit.lesson import tour as run

    story = run().to_json()
    if as_json:
        print_json(story)
        return
    from polylogit.app.texts import tour as text

    text.draw(story, lang)
