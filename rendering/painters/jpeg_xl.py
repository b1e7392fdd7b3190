"""JPEG XL, decoded and encoded with the libjxl of the imagecodecs wheel (jxl/encode.h), without threads."""

import ctypes
from ctypes import POINTER, Structure, byref, c_double, c_float, c_int, c_int64, c_size_t, c_uint8, c_void_p

import pyvips

from sourceimages.probing.readers.jxl_frames import (
    LIBRARIES,
    NATIVE_ENDIAN,
    SUCCESS,
    UINT8,
    BasicInfo,
    PixelFormat,
    first_frame,
)
from sourceimages.probing.readers.native import library

from . import to_srgb

NEED_MORE_OUTPUT = 2
EFFORT = 0  # the number of the option
PART_BYTES = 64 * 1024  # of the output, written at a time


class ColorEncoding(Structure):  # JxlColorEncoding
    _fields_ = (
        ("color_space", c_int),
        ("white_point", c_int),
        ("white", c_double * 2),
        ("primaries", c_int),
        *((name, c_double * 2) for name in ("red", "green", "blue")),
        ("transfer_function", c_int),
        ("gamma", c_double),
        ("rendering_intent", c_int),
    )


def decode(path: str) -> pyvips.Image:
    """The first frame, upright, with its color profile."""
    with open(path, "rb") as file:
        picture = first_frame(file.read())
    size = picture.width, picture.height
    image = pyvips.Image.new_from_memory(picture.pixels, *size, picture.channels, "uchar")
    if picture.channels < 3:
        return to_srgb.tagged(image, "b-w", picture.profile)
    if picture.black is None:
        return to_srgb.tagged(image, "srgb", picture.profile)
    black = pyvips.Image.new_from_memory(picture.black, *size, 1, "uchar")
    inks, alpha = image[:3].bandjoin(black).invert(), image.bandsplit()[3:]
    return to_srgb.tagged(inks.bandjoin(alpha) if alpha else inks, "cmyk", picture.profile)


def encode(image: pyvips.Image, *, quality: int, effort: int) -> bytes:
    """Of an image in sRGB or gray with 8 bits. Quality 100 is lossless. Raises OSError and MemoryError."""
    pixels = bytes(image.write_to_memory())
    colors = 3 if image.bands > 2 else 1
    info, srgb = BasicInfo(), ColorEncoding()
    jxl = _library()
    jxl.JxlEncoderInitBasicInfo(byref(info))
    info.width, info.height, info.bits, info.colors = image.width, image.height, 8, colors
    info.extra_channels, info.alpha_bits = (1, 8) if image.bands > colors else (0, 0)
    info.original_profile = quality == 100
    jxl.JxlColorEncodingSetToSRGB(byref(srgb), colors == 1)
    encoder = jxl.JxlEncoderCreate(None)
    if not encoder:
        raise MemoryError
    try:
        options = jxl.JxlEncoderFrameSettingsCreate(encoder, None)
        format = PixelFormat(image.bands, UINT8, NATIVE_ENDIAN, 0)
        for status in (
            jxl.JxlEncoderSetBasicInfo(encoder, byref(info)),
            jxl.JxlEncoderSetColorEncoding(encoder, byref(srgb)),
            jxl.JxlEncoderFrameSettingsSetOption(options, EFFORT, effort),
            jxl.JxlEncoderSetFrameDistance(options, jxl.JxlEncoderDistanceFromQuality(quality)),
            jxl.JxlEncoderSetFrameLossless(options, quality == 100),
            jxl.JxlEncoderAddImageFrame(options, byref(format), pixels, len(pixels)),
        ):
            if status != SUCCESS:
                raise OSError("libjxl could not encode the image")
        jxl.JxlEncoderCloseInput(encoder)
        return _output(jxl, encoder)
    finally:
        jxl.JxlEncoderDestroy(encoder)


def _output(jxl: ctypes.CDLL, encoder: int) -> bytes:
    output = bytearray()
    part = (c_uint8 * PART_BYTES)()
    status = NEED_MORE_OUTPUT
    while status == NEED_MORE_OUTPUT:
        after, available = ctypes.cast(part, c_void_p), c_size_t(PART_BYTES)
        status = jxl.JxlEncoderProcessOutput(encoder, byref(after), byref(available))
        output += bytes(part)[: PART_BYTES - available.value]
    if status != SUCCESS:
        raise OSError("libjxl could not encode the image")
    return bytes(output)


def _library() -> ctypes.CDLL:
    jxl = library(*LIBRARIES)
    for function in (jxl.JxlEncoderCreate, jxl.JxlEncoderFrameSettingsCreate):
        function.restype = c_void_p
    jxl.JxlEncoderDistanceFromQuality.restype = c_float
    jxl.JxlEncoderDistanceFromQuality.argtypes = [c_float]
    jxl.JxlEncoderFrameSettingsCreate.argtypes = [c_void_p, c_void_p]
    jxl.JxlEncoderFrameSettingsSetOption.argtypes = [c_void_p, c_int, c_int64]
    jxl.JxlEncoderSetFrameDistance.argtypes = [c_void_p, c_float]
    jxl.JxlEncoderSetFrameLossless.argtypes = [c_void_p, c_int]
    jxl.JxlEncoderAddImageFrame.argtypes = [c_void_p, POINTER(PixelFormat), ctypes.c_char_p, c_size_t]
    jxl.JxlEncoderProcessOutput.argtypes = [c_void_p, POINTER(c_void_p), POINTER(c_size_t)]
    for name, argument in {"BasicInfo": BasicInfo, "ColorEncoding": ColorEncoding}.items():
        getattr(jxl, f"JxlEncoderSet{name}").argtypes = [c_void_p, POINTER(argument)]
    for name in ("CloseInput", "Destroy"):
        getattr(jxl, f"JxlEncoder{name}").argtypes = [c_void_p]
    return jxl
