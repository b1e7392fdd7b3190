"""The frames of a JPEG XL, read with libjxl: duration, transparency, completeness, pixels."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, byref, c_int, c_size_t, c_uint32, c_void_p
from typing import NamedTuple

from .header import CorruptFileError
from .native import library

LIBRARIES = ("libbrotlicommon", "libbrotlidec", "libbrotlienc", "liblcms2", "libjxl_cms", "libjxl")
SUCCESS, ERROR, NEED_MORE_INPUT, NEED_BUFFER = 0, 1, 2, 5
BASIC_INFO, COLORS, FRAME, FULL_IMAGE = 0x40, 0x100, 0x400, 0x1000
RGBA, UINT8, NATIVE_ENDIAN = 4, 2, 0
BLACK = 4  # the kind of an extra channel
OF_PIXELS = 1  # the profile of decoded pixels; that of the file can differ
OPAQUE_VALUE = 255
MAX_FRAMES = 100_000

Buffer = ctypes.Array[ctypes.c_char]


class CutOffError(CorruptFileError):
    """The file ends within a frame."""


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


class ExtraChannel(Structure):  # JxlExtraChannelInfo
    _fields_ = (
        ("kind", c_int),
        *((name, c_uint32) for name in ("bits", "exponent_bits", "shift", "name_length")),
        ("premultiplied", c_int),
        ("spot_color", ctypes.c_float * 4),
        ("color_filter", c_uint32),
    )


class FrameHeader(Structure):  # JxlFrameHeader
    _fields_ = (
        *((name, c_uint32) for name in ("duration", "timecode", "name_length")),
        ("is_last", c_int),
        ("layer", c_uint32 * 10),  # unused
    )


class PixelFormat(Structure):  # JxlPixelFormat
    _fields_ = (("channels", c_uint32), ("type", c_int), ("endianness", c_int), ("align", c_size_t))


class Frames(NamedTuple):
    number: int
    seconds: float
    pixels: int  # per frame
    complete: bool  # False if the file ends before its last frame starts


class Picture(NamedTuple):
    """Upright pixels with 8 bits per channel: gray or RGB, with alpha if there is another channel."""

    width: int
    height: int
    channels: int
    pixels: Buffer
    profile: bytes  # ICC
    black: Buffer | None  # of CMYK, whose other inks are in the place of RGB; 0 is the most ink


def count(data: bytes) -> Frames:
    """Number and total duration of the frames, without decoding pixels."""
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
                case 2:  # the last frame announced is incomplete
                    return Frames(max(0, frames - 1), ticks / rate if rate else 0.0, pixels, complete=False)
                case _:
                    raise CorruptFileError("its frames are invalid")


def first_frame(data: bytes) -> Picture:
    """The first frame. Raises CutOffError if it is incomplete."""
    info, profile = BasicInfo(), b""
    pixels = black = None
    with _decoder(data, BASIC_INFO | COLORS | FULL_IMAGE) as (jxl, decoder):
        jxl.JxlDecoderSetUnpremultiplyAlpha(decoder, True)
        while True:
            match jxl.JxlDecoderProcessInput(decoder):
                case 0x40:
                    info = _info(jxl, decoder)
                    channels = info.colors + bool(info.alpha_bits)
                case 0x100:
                    profile = _profile(jxl, decoder)
                case 5:
                    pixels = _set_output(jxl, decoder, channels)
                    black = _set_black_output(jxl, decoder, info)
                case 0x1000 if pixels is not None:
                    return Picture(info.width, info.height, channels, pixels, profile, black)
                case 2:
                    raise CutOffError("it ends within a frame")
                case _:
                    raise CorruptFileError("its first frame cannot be decoded")


def all_frames_opaque(data: bytes) -> bool:
    """Return whether all pixels of all composed frames are opaque."""
    return all(pixels[3::4].count(OPAQUE_VALUE) == len(pixels) // 4 for pixels in _pixels(data, partial=False))


def ends_whole(data: bytes, count: int) -> bool:
    """Return whether the last of `count` frames is complete, which requires decoding it."""
    try:
        any(True for _ in _pixels(data, partial=False, skip=count - 1))
    except CutOffError:
        return False
    except CorruptFileError:  # not decodable for another reason
        return True
    return True


def is_partly_decodable(data: bytes) -> bool:
    """Return whether the first frame of a truncated file can be decoded at least partly."""
    return next(_pixels(data, partial=True), None) is not None


def _pixels(data: bytes, *, partial: bool, skip: int = 0) -> Iterator[bytes]:
    """The frames as 8-bit RGBA. Raises CutOffError if one is incomplete; with `partial`, yields its available part."""
    pixels: Buffer | None = None
    with _decoder(data, FULL_IMAGE) as (jxl, decoder):
        jxl.JxlDecoderSkipFrames(decoder, skip)
        while True:
            match jxl.JxlDecoderProcessInput(decoder):
                case 5:
                    pixels = _set_output(jxl, decoder, RGBA, pixels)
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


def _profile(jxl: ctypes.CDLL, decoder: c_void_p) -> bytes:
    size = c_size_t()
    if jxl.JxlDecoderGetICCProfileSize(decoder, OF_PIXELS, byref(size)) != SUCCESS:
        return b""
    profile = ctypes.create_string_buffer(size.value)
    found = jxl.JxlDecoderGetColorAsICCProfile(decoder, OF_PIXELS, profile, size)
    return profile.raw if found == SUCCESS else b""


def _set_output(jxl: ctypes.CDLL, decoder: c_void_p, channels: int, before: Buffer | None = None) -> Buffer:
    """Where the pixels of the next frame will be: in the buffer used before, if it has the right size."""
    format, size = PixelFormat(channels, UINT8, NATIVE_ENDIAN, 0), c_size_t()
    jxl.JxlDecoderImageOutBufferSize(decoder, byref(format), byref(size))
    pixels = before if before is not None and len(before) == size.value else ctypes.create_string_buffer(size.value)
    jxl.JxlDecoderSetImageOutBuffer(decoder, byref(format), pixels, size)
    return pixels


def _set_black_output(jxl: ctypes.CDLL, decoder: c_void_p, info: BasicInfo) -> Buffer | None:
    for index in range(info.extra_channels):
        channel = ExtraChannel()
        jxl.JxlDecoderGetExtraChannelInfo(decoder, index, byref(channel))
        if channel.kind == BLACK:
            format, black = (
                PixelFormat(1, UINT8, NATIVE_ENDIAN, 0),
                ctypes.create_string_buffer(info.width * info.height),
            )
            jxl.JxlDecoderSetExtraChannelBuffer(decoder, byref(format), black, len(black), index)
            return black
    return None


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
    jxl.JxlDecoderSetUnpremultiplyAlpha.argtypes = [c_void_p, c_int]
    jxl.JxlDecoderGetICCProfileSize.argtypes = [c_void_p, c_int, POINTER(c_size_t)]
    jxl.JxlDecoderGetColorAsICCProfile.argtypes = [c_void_p, c_int, c_void_p, c_size_t]
    jxl.JxlDecoderGetExtraChannelInfo.argtypes = [c_void_p, c_size_t, POINTER(ExtraChannel)]
    jxl.JxlDecoderSetExtraChannelBuffer.argtypes = [c_void_p, POINTER(PixelFormat), c_void_p, c_size_t, c_uint32]
    decoder = c_void_p(jxl.JxlDecoderCreate(None))
    if not decoder:
        raise MemoryError
    try:
        jxl.JxlDecoderSubscribeEvents(decoder, events)
        # no CloseInput: for truncated files the decoder then asks for more input
        jxl.JxlDecoderSetInput(decoder, data, len(data))
        yield jxl, decoder
    finally:
        jxl.JxlDecoderDestroy(decoder)
