"""docs/differences.md says what the judge accepts."""

from differential import intended


def test_the_document_is_fresh():
    assert intended.DOCUMENT.read_text() == intended.document(), "write it: see differential/intended.py"
