"""Contracts: the columns and types that a table keeps to, declared in code or in a file that a person reviews.

One idea a file: `model` is what a contract says, `meeting` whether two of them meet, `files` how one stands in a file.
Holding a table against one is done where the table is, in `drawbar.agent.contracting`.
"""

from drawbar.agent.columns import MODES
from drawbar.contracts.files import default_path, dump, load, parse, resolve
from drawbar.contracts.meeting import compatible, unmet
from drawbar.contracts.model import Column, Contract

__all__ = [
    "MODES",
    "Column",
    "Contract",
    "compatible",
    "default_path",
    "dump",
    "load",
    "parse",
    "resolve",
    "unmet",
]
