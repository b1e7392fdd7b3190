"""The frames of a JPEG XL as libjxl tells them: their durations, their transparency, and how far the file reaches."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, byref, c_int, c_size_t, c_uint32, c_void_p
from typing import NamedTuple

from .header import CorruptFileError
from .native import library

LIBRARIES = ("libbrotlicommon", "libbrotlidec", "libbrotlienc", "liblcms2", "libjxl_cms", "libjxl")
SUCCESS, ERROR, NEED_MORE_INPUT, NEED_BUFFER, BASIC_INFO, FRAME, FULL_IMAGE = 0, 1, 2, 5, 0x40, 0x400, 0x1000
RGBA, UINT8, NATIVE_ENDIAN = 4, 2, 0
OPAQUE_VALUE = 255
MAX_FRAMES = 100_000


class CutOffError(CorruptFileError):
    """It ends within a frame."""


class BasicInfo(Structure):  # JxlBasicInfo
    _fields_ = (
        *((name, c_uint32) for name in ("container", "width", "height", "bits", "exponent_bits")),
        *((name, ctypes.c_float) for name in ("intensity", "min_nits")),
        ("relative", c_int),
        ("linear_below", ctypes.c_float),
        *((name, c_int) for name in ("original_profile", "has_preview", "has_animation", "orientation")),
        *((name, c_uint32) for name in ("colors", "extra_channels", "alpha_bits", "alpha_exponent_bits")),
        ("premultiplied", c_int),
        *((name, c_uint32) for name in ("preview_width", "preview_height", "ticks", "per_seconds", "loops")),
        ("timecodes", c_int),
        *((name, c_uint32) for name in ("intrinsic_width", "intrinsic_height")),
        ("padding", ctypes.c_uint8 * 100),
    )


class FrameHeader(Structure):  # JxlFrameHeader
    _fields_ = (
        *((name, c_uint32) for name in ("duration", "timecode", "name_length")),
        ("is_last", c_int),
        ("layer", c_uint32 * 10),  # of no interest here
    )


class PixelFormat(Structure):  # JxlPixelFormat
    _fields_ = (("channels", c_uint32), ("type", c_int), ("endianness", c_int), ("align", c_size_t))


class Frames(NamedTuple):
    number: int
    seconds: float
    pixels: int  # of one frame
    complete: bool  # False if the file ends before its last frame begins


def count(data: bytes) -> Frames:
    """How many frames there are, and how long they are shown, without a look at the pixels."""
    frames = ticks = pixels = 0
    rate = 0.0
    with _decoder(data, BASIC_INFO | FRAME) as (jxl, decoder):
        while True:
            match jxl.JxlDecoderProcessInput(decoder):
                case 0x40:
                    info = _info(jxl, decoder)
                    rate = info.ticks / info.per_seconds if info.has_animation and info.per_seconds else 0.0
                    pixels = info.width * info.height
                case 0x400 if frames < MAX_FRAMES:
                    header = FrameHeader()
                    jxl.JxlDecoderGetFrameHeader(decoder, byref(header))
                    frames, ticks = frames + 1, ticks + header.duration
                case 0:
                    return Frames(frames, ticks / rate if rate else 0.0, pixels, complete=True)
                case 2:  # the frame that was announced last is not there as a whole
                    return Frames(max(0, frames - 1), ticks / rate if rate else 0.0, pixels, complete=False)
                case _:
                    raise CorruptFileError("its frames make no sense")


def all_frames_opaque(data: bytes) -> bool:
    """Whether no pixel of any frame, as it is shown, is transparent."""
    return all(pixels[3::4].count(OPAQUE_VALUE) == len(pixels) // 4 for pixels in _pixels(data, partial=False))


def ends_whole(data: bytes, count: int) -> bool:
    """Whether the file does not end within the last of so many frames: where that ends is not known before."""
    try:
        any(True for _ in _pixels(data, partial=False, skip=count - 1))
    except CutOffError:
        return False
    except CorruptFileError:  # it cannot be decoded for another reason
        return True
    return True


def is_partly_decodable(data: bytes) -> bool:
    """Whether anything can be shown of the first frame of a file that is cut off."""
    return next(_pixels(data, partial=True), None) is not None


def _pixels(data: bytes, *, partial: bool, skip: int = 0) -> Iterator[bytes]:
    """The frames as RGBA of 8 bits. CutOffError if one is not whole; with `partial`, what there is of it."""
    pixels: ctypes.Array[ctypes.c_char] | None = None
    with _decoder(data, FULL_IMAGE) as (jxl, decoder):
        jxl.JxlDecoderSkipFrames(decoder, skip)
        while True:
            match jxl.JxlDecoderProcessInput(decoder):
                case 5:
                    format, size = PixelFormat(RGBA, UINT8, NATIVE_ENDIAN, 0), c_size_t()
                    jxl.JxlDecoderImageOutBufferSize(decoder, byref(format), byref(size))
                    if pixels is None or len(pixels) != size.value:
                        pixels = ctypes.create_string_buffer(size.value)
                    jxl.JxlDecoderSetImageOutBuffer(decoder, byref(format), pixels, size)
                case 0x1000 if pixels is not None:
                    yield pixels.raw
                case 0:
                    return
                case 2 if partial and pixels is not None and jxl.JxlDecoderFlushImage(decoder) == SUCCESS:
                    yield pixels.raw
                    return
                case 2:
                    raise CutOffError("it ends within a frame")
                case _:
                    raise CorruptFileError("its frames cannot be decoded")


def _info(jxl: ctypes.CDLL, decoder: c_void_p) -> BasicInfo:
    info = BasicInfo()
    jxl.JxlDecoderGetBasicInfo(decoder, byref(info))
    return info


@contextmanager
def _decoder(data: bytes, events: int) -> Iterator[tuple[ctypes.CDLL, c_void_p]]:
    jxl = library(*LIBRARIES)
    jxl.JxlDecoderCreate.restype = c_void_p
    for name in ("Destroy", "ProcessInput", "FlushImage"):
        getattr(jxl, f"JxlDecoder{name}").argtypes = [c_void_p]
    jxl.JxlDecoderSkipFrames.argtypes = [c_void_p, c_size_t]
    jxl.JxlDecoderSkipFrames.restype = None
    jxl.JxlDecoderSubscribeEvents.argtypes = [c_void_p, c_int]
    jxl.JxlDecoderSetInput.argtypes = [c_void_p, ctypes.c_char_p, c_size_t]
    jxl.JxlDecoderGetBasicInfo.argtypes = [c_void_p, POINTER(BasicInfo)]
    jxl.JxlDecoderGetFrameHeader.argtypes = [c_void_p, POINTER(FrameHeader)]
    jxl.JxlDecoderImageOutBufferSize.argtypes = [c_void_p, POINTER(PixelFormat), POINTER(c_size_t)]
    jxl.JxlDecoderSetImageOutBuffer.argtypes = [c_void_p, POINTER(PixelFormat), c_void_p, c_size_t]
    decoder = c_void_p(jxl.JxlDecoderCreate(None))
    try:
        jxl.JxlDecoderSubscribeEvents(decoder, events)
        jxl.JxlDecoderSetInput(decoder, data, len(data))  # and no CloseInput: of a file that is cut off it wants more
        yield jxl, decoder
    finally:
        jxl.JxlDecoderDestroy(decoder)
