"""Binary hash, hash and short hash: the one place that knows how pictures are named.

`hash` follows rokka.io, so that whoever moves here keeps every hash, short hash and URL.
"""

from collections.abc import Mapping
from hashlib import sha1
from typing import Any

MIN_SHORT_HASH = 6
PROTECTED = "protected"  # reserved: no dynamic metadata may have this name


def identity(binary_hash: str, dynamic_metadata: Mapping[str, Any], *, protected: bool) -> str:
    """The hash of a picture: 40 lower-case hex characters.

    sha1 of the binary hash followed by the PHP serialization of all else that identifies the picture.
    `dynamic_metadata` has to be normalised. Raises TypeError for a float anywhere in it.
    """
    facts = dict(dynamic_metadata)
    if protected:
        facts[PROTECTED] = True
    return sha1(binary_hash.encode() + php_serialize(facts), usedforsecurity=False).hexdigest()


def php_serialize(value: Any) -> bytes:
    """PHP's serialize() for what JSON can hold but floats and null; keys sorted bytewise at every level."""
    match value:
        case bool():
            return b"b:%d;" % value
        case int():
            return b"i:%d;" % value
        case str():
            text = value.encode()
            return b's:%d:"%s";' % (len(text), text)
        case Mapping():
            return _array([(php_serialize(key), value[key]) for key in sorted(value, key=str.encode)])
        case list():
            return _array([(b"i:%d;" % position, item) for position, item in enumerate(value)])
    raise TypeError(f"{type(value).__name__} has no place in a hash")


def _array(pairs: list[tuple[bytes, Any]]) -> bytes:
    return b"a:%d:{%s}" % (len(pairs), b"".join(key + php_serialize(item) for key, item in pairs))
