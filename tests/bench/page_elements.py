"""A page as a list of its elements, and proof that it is well-formed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("meta", "img", "wbr")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parts: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(
            part if isinstance(part, str) else part.text for part in self.parts
        )

    def all(self, tag: str, class_: str = "") -> "list[Element]":
        """Every element of a tag inside, and of a class if one is given."""
        found = (each for each in self.inside() if each.tag == tag)
        return [
            each
            for each in found
            if not class_ or class_ in (each.attributes.get("class") or "").split()
        ]

    def one(self, tag: str, class_: str = "") -> "Element":
        (found,) = self.all(tag, class_)
        return found

    def inside(self) -> "Iterator[Element]":
        for part in self.parts:
            if isinstance(part, Element):
                yield part
                yield from part.inside()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs))
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].parts.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read_page(text: str) -> Element:
    """Read a page, or a part of one; fails unless every element is closed in turn."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    (document,) = reader.open
    return document


def cells(row: Element) -> list[str]:
    """The texts of a row, with plain minus signs and no mark of agreement."""
    texts = (each.text for each in row.parts if isinstance(each, Element))
    return [text.replace("−", "-").removeprefix("✓") for text in texts]
