"""YAML with the line of every value, by YAML 1.2's idea of booleans and without aliases."""

from typing import Any

import yaml

Location = tuple[str | int, ...]
_LARGEST_NODES = 100_000


def read_lines(text: str) -> tuple[Any, dict[Location, int]]:
    """The value of a YAML text and the line of every place in it; yaml.YAMLError or RecursionError if it is none.

    A key given twice and an alias are errors.
    """
    _refuse_aliases(text)
    return _construct(yaml.compose(text, Loader=yaml.SafeLoader))


def _refuse_aliases(text: str) -> None:
    """YAML aliases can make a gigabyte of a kilobyte, and a recipe needs none."""
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(problem=f"aliases (*name) are not taken, line {_line_of(event)}")
        if number > _LARGEST_NODES:
            raise yaml.constructor.ConstructorError(problem=f"it has more than {_LARGEST_NODES} values")


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _construct(node: yaml.Node | None, at: Location = ()) -> tuple[Any, dict[Location, int]]:
    """The value of a YAML node and the line of every place in it; a key given twice is an error."""
    if node is None:
        return None, {}
    lines = {at: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            if key in mapping:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            mapping[key], inner = _construct(value_node, (*at, key))
            lines |= inner | {(*at, key): key_node.start_mark.line + 1}
        return mapping, lines
    if isinstance(node, yaml.SequenceNode):
        items = [_construct(item, (*at, i)) for i, item in enumerate(node.value)]
        for _, inner in items:
            lines |= inner
        return [value for value, _ in items], lines
    return _scalar(node), lines


def _scalar(node: yaml.Node) -> Any:
    """A scalar by YAML 1.2's idea of booleans: `No` is nobelium, not false."""
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "keys must be plain text", node.start_mark)
    if node.tag == "tag:yaml.org,2002:bool" and node.value.lower() not in {"true", "false"}:
        return node.value
    if node.tag == "tag:yaml.org,2002:timestamp":
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (ValueError, TypeError, KeyError) as error:
        raise yaml.constructor.ConstructorError(None, None, f"{node.value!r}: {error}", node.start_mark) from error
    finally:
        loader.dispose()
