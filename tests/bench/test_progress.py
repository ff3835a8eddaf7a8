import io

from sampan.bench.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar("put", 200)
    bar.show(50)
    bar.finish()
    return stream.getvalue()


def test_a_terminal_gets_one_line_that_disappears(monkeypatch):
    text = drawn(monkeypatch, Terminal())
    assert " 25 %" in text
    assert "put" in text
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")


def test_a_file_gets_nothing(monkeypatch):
    assert drawn(monkeypatch, io.StringIO()) == ""
