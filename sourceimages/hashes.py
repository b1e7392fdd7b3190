"""How the hash of an image is computed: as rokka.io does, so that hashes, short hashes and URLs stay valid."""

from collections.abc import Mapping
from hashlib import sha1
from typing import Any

MIN_SHORT_HASH = 6
PROTECTED = "protected"  # reserved, not allowed as the name of dynamic metadata


def identity(binary_hash: str, dynamic_metadata: Mapping[str, Any], *, protected: bool) -> str:
    """The hash of an image: 40 lowercase hex characters.

    It is the SHA-1 of the binary hash followed by the PHP serialization of dynamic metadata and protection.
    `dynamic_metadata` must be normalized. Raises TypeError if it contains a float.
    """
    properties = dict(dynamic_metadata)
    if protected:
        properties[PROTECTED] = True
    return sha1(binary_hash.encode() + php_serialize(properties), usedforsecurity=False).hexdigest()


def php_serialize(value: Any) -> bytes:
    """PHP's serialize() for JSON values except floats and null; keys are sorted bytewise at every level."""
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
    raise TypeError(f"{type(value).__name__} can't be part of a hash")


def _array(pairs: list[tuple[bytes, Any]]) -> bytes:
    return b"a:%d:{%s}" % (len(pairs), b"".join(key + php_serialize(item) for key, item in pairs))
