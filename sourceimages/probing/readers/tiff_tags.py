"""Which TIFF tags are carried over or dropped when an image is transcoded.

A file with a tag in neither list is not transcoded, as the tag may be important.
"""

from PIL import ExifTags, TiffTags

XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
BLOCKS = {XMP, IPTC, PHOTOSHOP, ICC}  # carried as blocks of their own
MAKER_NOTE = 37500  # may point to anywhere in the file that it was made for
SUB_IFDS = 330

# Tags that describe the image, with the same meaning in an EXIF block.
CARRIED = {
    269,  # DocumentName
    270,  # ImageDescription
    271,  # Make
    272,  # Model
    274,  # Orientation
    282,  # XResolution
    283,  # YResolution
    285,  # PageName
    286,  # XPosition
    287,  # YPosition
    296,  # ResolutionUnit
    301,  # TransferFunction
    305,  # Software
    306,  # DateTime
    315,  # Artist
    316,  # HostComputer
    318,  # WhitePoint
    319,  # PrimaryChromaticities
    18246,  # Rating
    18249,  # RatingPercent
    33432,  # Copyright
    *range(40091, 40096),  # XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject
    50341,  # PrintImageMatching
}

# Tags about storage layout, decoding, or nothing relevant. The target format has its own equivalents.
DROPPED = {
    254,  # NewSubfileType: looked at before
    255,  # SubfileType
    256,  # ImageWidth
    257,  # ImageLength
    258,  # BitsPerSample
    259,  # Compression
    262,  # PhotometricInterpretation
    263,  # Threshholding
    264,  # CellWidth
    265,  # CellLength
    266,  # FillOrder
    273,  # StripOffsets
    277,  # SamplesPerPixel
    278,  # RowsPerStrip
    279,  # StripByteCounts
    280,  # MinSampleValue
    281,  # MaxSampleValue
    284,  # PlanarConfiguration
    288,  # FreeOffsets
    289,  # FreeByteCounts
    292,  # T4Options
    293,  # T6Options
    297,  # PageNumber: of one page
    317,  # Predictor
    320,  # ColorMap
    *range(322, 326),  # TileWidth, TileLength, TileOffsets, TileByteCounts
    *range(326, 329),  # BadFaxLines, CleanFaxData, ConsecutiveBadFaxLines
    332,  # InkSet
    334,  # NumberOfInks
    336,  # DotRange
    338,  # ExtraSamples
    339,  # SampleFormat
    340,  # SMinSampleValue
    341,  # SMaxSampleValue
    347,  # JPEGTables
    *range(512, 522),  # JPEGProc to JPEGACTables
    529,  # YCbCrCoefficients
    530,  # YCbCrSubSampling
    531,  # YCbCrPositioning
    532,  # ReferenceBlackWhite
    59932,  # Padding, of Windows
    59933,  # OffsetSchema, of Windows
}

CARRIED_OF_EXIF = ExifTags.TAGS.keys() - {MAKER_NOTE, SUB_IFDS}  # in the directory of EXIF
CARRIED_OF_GPS = ExifTags.GPSTAGS.keys()

NAMES = {
    33550: "ModelPixelScale (GeoTIFF)",
    33922: "ModelTiepoint (GeoTIFF)",
    34264: "ModelTransformation (GeoTIFF)",
    34735: "GeoKeyDirectory (GeoTIFF)",
    34736: "GeoDoubleParams (GeoTIFF)",
    34737: "GeoAsciiParams (GeoTIFF)",
    37724: "ImageSourceData (Photoshop layers)",
}


def name_of(tag: int) -> str:
    known = NAMES.get(tag) or ExifTags.TAGS.get(tag) or TiffTags.lookup(tag).name
    return f"tag {tag}" if known == "unknown" else known
