"""An HTML page as tests read it."""

from __future__ import annotations

import html.parser

_VOID = {"meta", "img", "br"}


class Page(html.parser.HTMLParser):
    """Reads a page; fails where tags do not match.

    Attributes:
        source: the page.
        tags: all of them, with their attributes.
        links: what src and href name.
        tables: for each table its rows, and in these the texts of the cells.
        headings: texts of h1 to h3.
        bars: for each drawing the numbers that its rectangles are titled with.
        text: everything that is shown.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.links: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.headings: list[str] = []
        self.bars: list[list[int]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
        elif tag == "svg":
            self.bars.append([])
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = set(self._open)
        if inside & {"td", "th"}:
            self.tables[-1][-1][-1] += data
        if inside & {"h1", "h2", "h3"}:
            self.headings[-1] += data
        if self._open[-2:] == ["rect", "title"]:
            self.bars[-1].append(int(data))
        if "style" not in inside:
            self.text += data
