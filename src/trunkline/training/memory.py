"""Data sections that hold data themselves rather than names of sources: taken out of a config, and named by their digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from trunkline.data.memory import MARK, SPLITS, digest_of, is_splits, split_tables, table_of, with_clips
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import listed


@dataclass
class Memory:
    """The data that a config was given in memory.

    Attributes:
        tables: by the name that the config has for each.
        findings: what of the data is not read, a sentence each.
        kept: the tables of files and data sets that were read, by name and format; None: they are read each time.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    kept: dict[str, Table] | None = None

    def read(self, source: str | list[str], format: str | None = None) -> Table:
        """The table that a data section names: one of these, or that of a file (of this format) or a data set."""
        found = self.tables.get(source) if isinstance(source, str) else None
        if found is not None:
            return found
        if self.kept is None:
            return read_table(source, format=format)
        key = json.dumps([source, format])
        if key not in self.kept:
            self.kept[key] = read_table(source, format=format)
        return self.kept[key]

    def keep(self, table: Table) -> str:
        """Take a table in, and return its name in the config."""
        name = MARK + digest_of(table)
        self.tables[name] = table
        return name

    def take_from(self, values: dict[str, Any], where: str) -> dict[str, Any]:
        """Return the values of a config with a name in the place of each table that its data sections hold.

        Args:
            values: the mapping as given in Python.
            where: how messages name it.

        Raises:
            BadInput: data that are no table, or that have no row.
        """
        values = dict(values)
        opening = "" if where == "config" else f"{where}: "  # a mapping of Python has no name to give
        if isinstance(section := values.get("data"), Mapping):
            values["data"] = self._section(section, f"{opening}data")
        if isinstance(tasks := values.get("tasks"), Mapping):
            values["tasks"] = {
                name: {**task, "data": self._section(task["data"], f"{opening}tasks.{name}.data")}
                if isinstance(task, Mapping) and isinstance(task.get("data"), Mapping)
                else task
                for name, task in tasks.items()
            }
        return values

    def _section(self, section: Mapping[str, Any], where: str) -> dict[str, Any]:
        section = dict(section)
        if is_splits(section.get("train")):
            splits, unread = split_tables(section["train"], f"{where}.train")
            section = {**splits, **section, "train": splits["train"]}
            if unread:
                self.findings.append(f"{where}.train: its splits {listed(unread, 8)} are not read.")
        for split in SPLITS:
            if isinstance(section.get(split), PathLike):
                section[split] = str(section[split])
            elif _is_held(section.get(split)):
                place = f"{where}.{split}"
                section[split] = self.keep(table_of(with_clips(section[split], section.get("audio"), place), place))
        return section


def _is_held(value: Any) -> bool:
    """Whether a data section holds data here, well-formed or not, rather than what YAML could say."""
    if isinstance(value, list | tuple):
        return any(isinstance(one, Mapping) for one in value)
    return value is not None and not isinstance(value, str | bool | int | float | bytes)
