"""The YAML of configs: labels stay as they are spelled, no key is given twice, and aliases stay few."""

from __future__ import annotations

from typing import Any

import yaml

from trunkline.errors import BadInput


class _Refused(yaml.MarkedYAMLError):
    pass


# Keys under which labels or names of columns stand: what is written there is a string as it is written, not a truth value (no),
# a number (01, 1.0), a date or a null (NA is none, ~ is).
SPELLED = frozenset("label_list positive class_weights missing label labels text text_pair tokens tags spans target".split())
MOST_REPEATED = 100_000  # values that aliases stand for in one text; configs repeat a section or a list of labels
_STRING = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """Keeps labels as they are spelled, and refuses a key that a mapping has twice: PyYAML would silently take the last.

    Aliases of aliases are refused before they are followed, as a few lines of them stand for more values than any memory holds.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._sizes: dict[yaml.Node, int] = {}  # how many values each node stands for, aliases followed
        self._repeated = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None
        node: Any = super().compose_node(parent, index)
        if alias is None:
            self._sizes[node] = 1 + sum(self._sizes[inner] for inner in _inner(node))
            return node
        if node not in self._sizes:
            raise _Refused(
                problem=f"found *{alias.anchor} within &{alias.anchor}, expected it outside", problem_mark=alias.start_mark
            )
        self._repeated += self._sizes[node]
        if self._repeated > MOST_REPEATED:
            problem = f"found aliases that repeat more than {MOST_REPEATED:,} values, expected fewer"
            raise _Refused(problem=problem, problem_mark=alias.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in SPELLED:
                keep_spelling(value)
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (before := first.setdefault((key.tag, key.value), key)) is not key:
                line = before.start_mark.line + 1
                problem = f"found the key {key.value!r} twice (first in line {line}), expected each key once"
                raise _Refused(problem=problem, problem_mark=key.start_mark)
        return node


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def keep_spelling(node: yaml.Node) -> None:
    """Make a string, as it is spelled, of a plain scalar, of each in a list, and of the keys of a mapping; null stays unset."""
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            if isinstance(one, yaml.ScalarNode) and one.value:
                one.tag = _STRING
    elif isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = _STRING
    elif isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        node.tag = _STRING


def read_yaml(text: str, where: str, key: str = "") -> Any:
    """Return what YAML `text` says; BadInput opened by `where` and the line if it is not YAML or gives a key twice.

    Args:
        text: a config, or the value of one of its keys.
        where: opens messages.
        key: whose value it is, if not a whole config.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None and key.rpartition(".")[2] in SPELLED:
                keep_spelling(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (ValueError, RecursionError) as error:  # no such date, thousands of digits; thousands of brackets
        raise BadInput(f"not YAML that can be read ({type(error).__name__})", where=where) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark and "\n" in text else ""
        problem = getattr(error, "problem", None) or "not valid"
        raise BadInput(f"{where}{line}: {'' if isinstance(error, _Refused) else 'not YAML: '}{problem}") from None
