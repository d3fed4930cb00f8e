"""HTML and SVG as values: every text is escaped, whatever a component logged."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup already; anything else that is put into markup is escaped."""

    __slots__ = ()


Child = str | float | Markup | None
_VOID = frozenset({"meta", "br", "line", "rect", "circle", "path", "polyline", "polygon"})


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. `class_` is written class, `stroke_width` stroke-width; None leaves a child or attribute out."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            text = _number(value) if isinstance(value, (int, float)) else str(value)
            words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    if name in _VOID and not children:
        return Markup(f"<{' '.join(words)}/>")
    return Markup(f"<{' '.join(words)}>{join(children)}</{name}>")


def join(children: tuple[Child, ...] | list[Markup]) -> Markup:
    """The children one after another."""
    return Markup("".join(_text(child) for child in children if child is not None))


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return str(child)
    return escape(_number(child) if isinstance(child, (int, float)) else str(child))


def _number(value: float) -> str:
    """At most two decimals: a hundredth of a pixel is enough."""
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
