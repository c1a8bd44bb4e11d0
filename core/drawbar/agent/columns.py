"""What both ends of a contract agree on: the four modes, and one name for a column's type, whichever library has it.

Texts as pandas, polars and pyarrow write their types come here, live or out of a record; contracts compare what goes
back. The names are arrow's, less what only says how memory is laid out.
"""

import ast
import re
from typing import Callable, Dict, List, Optional, Tuple

EVOLVE, FREEZE, DISCARD_ROWS, DISCARD_COLUMNS = MODES = ("evolve", "freeze", "discard_rows", "discard_columns")
ANY = "any"
_WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64, 128))
# In small letters, because pandas and polars write Int64 where arrow writes int64.
_PLAIN: Dict[str, str] = {
    **{name: name for name in (ANY, "null", "bool", "string", "binary", "date", "time", "category", *_WHOLE)},
    **dict.fromkeys(("halffloat", "float16"), "float16"),
    **dict.fromkeys(("float", "float32"), "float32"),
    **dict.fromkeys(("double", "float64"), "float64"),
    **dict.fromkeys(("str", "large_string", "string_view"), "string"),
    **dict.fromkeys(("large_binary", "binary_view"), "binary"),
    **dict.fromkeys(("date32[day]", "date64[ms]"), "date"),
    "boolean": "bool",
    "categorical": "category",
    "timestamp": "timestamp",
    "duration": "duration",
}
NAMES = tuple(
    dict.fromkeys([*(name for name in _PLAIN.values() if not name.endswith("128")), "decimal(10, 2)", "list<string>"])
)
"""Examples of every form, for messages; each is a type that a contract can have."""

# Patterns stay texts until one is needed: `import drawbar` shall cost next to nothing.
_STORAGE = r"(.+)\[(?:pyarrow|python|pyarrow_numpy)\]"
_NAMED = r"[^<>(){}\[\]:,]*: (.*)"
_NOT_NULL = " not null"


def neutral(text: str) -> str:
    """The one name of a type that any of the three libraries wrote; a text that is none of theirs stays as it is.

    >>> neutral("Int64"), neutral("double"), neutral("str"), neutral("datetime64[ns, UTC]")
    ('int64', 'float64', 'string', 'timestamp[ns, tz=UTC]')
    >>> neutral("List(Float32)"), neutral("fixed_size_list<item: float>[384]"), neutral("period[D]")
    ('list<float32>', 'list<float32>', 'period[D]')
    """
    return known(text) or text


def known(text: str) -> Optional[str]:
    """As `neutral`; None for what is no type of the three libraries.

    >>> known("float46") is None
    True
    """
    try:
        return _known(text)
    except RecursionError:  # lists in lists without end are nonsense
        return None


def fits(found: str, wanted: str) -> bool:
    """Whether a column of type `found` is one of type `wanted`, both neutral names.

    `any` wants every type, `timestamp` and `duration` one of any unit (without a zone); a column of type `null`, which
    has no value in it, fits them all.

    >>> fits("timestamp[us]", "timestamp"), fits("timestamp[us, tz=UTC]", "timestamp"), fits("int32", "int64")
    (True, False, False)
    """
    if wanted in (ANY, found) or found == "null":
        return True
    return wanted in ("timestamp", "duration") and re.fullmatch(rf"{wanted}\[\w+\]", found) is not None


def _known(text: str) -> Optional[str]:
    plain = _PLAIN.get(text.lower())
    if plain:
        return plain
    for form, name in _FORMS:
        match = _match(form, text)
        if match:
            return name(match)
    storage = _match(_STORAGE, text)
    return _known(storage.group(1)) if storage else None


def _timestamp(match: "re.Match[str]") -> str:
    unit, zone = match.groups()
    return f"timestamp[{unit}, tz={zone}]" if zone else f"timestamp[{unit}]"


def _list(match: "re.Match[str]") -> Optional[str]:
    """The list of what stands between the brackets, where an element has a name (`item: int64`) or none."""
    named = _match(_NAMED, match.group(1))
    return _list_of(named.group(1) if named else match.group(1))


def _list_of(text: str, depth: int = 1) -> Optional[str]:
    element = _known(_nullable(text))
    return "list<" * depth + element + ">" * depth if element else None


def _array(match: "re.Match[str]") -> Optional[str]:
    return _list_of(match.group(1), len([one for one in match.group(2).split(",") if one.strip()]))


def _map(match: "re.Match[str]") -> Optional[str]:
    kinds = [_known(_nullable(one)) for one in _split(match.group(1)) if one != "keys_sorted"]
    return f"map<{kinds[0]}, {kinds[1]}>" if len(kinds) == 2 and all(kinds) else None  # noqa: PLR2004 - key and value


def _struct(match: "re.Match[str]") -> Optional[str]:
    return _struct_of([one.partition(": ")[::2] for one in _split(match.group(1))])


def _struct_polars(match: "re.Match[str]") -> Optional[str]:
    fields = []
    for one in _split(match.group(1), quotes="'\""):
        quoted = _match(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"): (.*)""", one)
        if quoted is None:
            return None
        fields.append((ast.literal_eval(quoted.group(1)), quoted.group(2)))
    return _struct_of(fields)


def _struct_of(fields: "List[Tuple[str, str]]") -> Optional[str]:
    kinds = [(name, _known(_nullable(kind))) for name, kind in fields]
    return f"struct<{', '.join(f'{name}: {kind}' for name, kind in kinds)}>" if all(kind for _, kind in kinds) else None


def _nullable(text: str) -> str:
    """The type alone; whether what lies inside a value may be missing is no part of it."""
    return text.removesuffix(_NOT_NULL)


def _split(text: str, quotes: str = "") -> List[str]:
    """The parts between commas that stand in no bracket, and in no quotes where the dialect has them."""
    parts, depth, begin, quote, escaped = [], 0, 0, "", False
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in quotes:
            quote = sign
        elif sign in "<({[":
            depth += 1
        elif sign in ">)}]":
            depth -= 1
        elif sign == "," and not depth:
            parts.append(text[begin:at].strip())
            begin = at + 1
    return [*parts, text[begin:].strip()] if text.strip() else []


def _match(pattern: str, text: str) -> "Optional[re.Match[str]]":
    return re.fullmatch(pattern, text, re.DOTALL)


_FORMS: "List[Tuple[str, Callable[[re.Match[str]], Optional[str]]]]" = [
    (r"(?:datetime64|timestamp)\[(s|ms|us|ns)(?:, (?:tz=)?([^\]]+))?\]", _timestamp),
    (r"Datetime\(time_unit='(\w+)', time_zone=(?:None|'([^']*)')\)", _timestamp),
    (r"(?:timedelta64|duration)\[(s|ms|us|ns)\]", lambda match: f"duration[{match.group(1)}]"),
    (r"Duration\(time_unit='(\w+)'\)", lambda match: f"duration[{match.group(1)}]"),
    (r"time(?:32|64)\[\w+\]", lambda _: "time"),
    (r"fixed_size_binary\[\d+\]", lambda _: "binary"),
    (r"decimal\d*\((\d+), ?(-?\d+)\)", lambda match: f"decimal({match.group(1)}, {match.group(2)})"),
    (r"Decimal\(precision=(\d+), scale=(\d+)\)", lambda match: f"decimal({match.group(1)}, {match.group(2)})"),
    (r"dictionary<.*>|(?:Enum|Categorical)\(.*\)", lambda _: "category"),
    (r"(?:large_|fixed_size_)?list(?:_view)?<(.*)>(?:\[\d+\])?", _list),
    (r"large_list_view<(.*)>", _list),
    (r"List\((.*)\)", _list),
    (r"Array\((.*), shape=\((.*)\)\)", _array),
    (r"map<(.*)>", _map),
    (r"struct<(.*)>", _struct),
    (r"Struct\(\{(.*)\}\)", _struct_polars),
]
