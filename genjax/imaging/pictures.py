"""Picture files in and out: 8 and 16 bit, grey and colour, with the alpha kept as it came."""

import contextlib
import dataclasses
import io
import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped
from PIL import ExifTags, Image

from genjax.data.folder import ENDINGS, SUFFIXES, picture_files
from genjax.errors import UserError, did_you_mean
from genjax.files import replacing

#: These hold 16 bit, and grey with alpha; the others 8 bit, and alpha beside colour or not at all.
DEEP = (".png", ".tif", ".tiff")
JPEG_QUALITY = 95
#: What is in a PNG that says how it is turned: a chunk of EXIF or, of older programs, of text.
PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

# What OpenCV has to say of a broken file would stand beside our own line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture, and what its file needs to know beside the pixels.

    Attributes:
      pixels: [H, W, C] in [0, 1], C = 1 (grey) or 3 (RGB).
      alpha: uint8 or uint16 [H, W], or None where the picture has none.
      dtype: the file's, np.uint8 or np.uint16.

    Raises:
      ValueError: the shapes are others, or there is no pixel.
    """

    pixels: Float32[np.ndarray, "height width channel"]
    alpha: Shaped[np.ndarray, "height width"] | None = None
    dtype: type[np.unsignedinteger] = np.uint8

    def __post_init__(self):
        shape = self.pixels.shape
        if len(shape) != 3 or shape[-1] not in (1, 3) or not self.pixels.size:
            raise ValueError(f"expected pixels [H, W, 1 or 3], got {list(shape)}")
        if self.alpha is not None and self.alpha.shape != shape[:2]:
            raise ValueError(f"alpha {list(self.alpha.shape)} for pixels {list(shape)}")

    def with_pixels(self, pixels: Float[np.ndarray, "height width channel"]) -> "Picture":
        """This picture with other pixels, of any size and 1 or 3 channels; the alpha is resized."""
        pixels = np.asarray(pixels, np.float32)
        alpha, (height, width) = self.alpha, pixels.shape[:2]
        if alpha is not None and alpha.shape != (height, width):
            shrinks = height * width < alpha.size
            smoothing = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            alpha = cv2.resize(alpha, (width, height), interpolation=smoothing)
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)


def pictures_in(path: Path, where: str = "--input") -> list[Path]:
    """The pictures in a folder and in those below it, sorted; what is hidden is left out.

    Args:
      path: a folder, or one picture.
      where: the flag that named it, for messages.

    Returns:
      Paths relative to the folder; for one picture its name alone.

    Raises:
      UserError: nothing is there, or no picture.
    """
    if not path.exists():
        raise UserError(f"{where}: no such file or folder {str(path)!r}")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{where}: {str(path)!r} is no picture; {ENDINGS}")
        return [Path(path.name)]
    names = sorted(picture_files(path))
    if not names:
        raise UserError(f"{where}: no pictures in {str(path)!r}; {ENDINGS}")
    return names


def read_picture(path: str | os.PathLike) -> Picture:
    """Reads a picture upright, as its EXIF orientation says.

    Of several frames or pages it is the first. Grey with alpha stays grey, except in 16 bit, where
    it comes as RGB of equal channels; a palette comes as RGB. Other metadata is not read.

    Raises:
      UserError: the file is missing, broken, cut off or no picture, or holds no 8 or 16 bit.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from error
    try:
        planes = _decode(data)
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise UserError(f"{path}: has more than {most:,} pixels; cut it up first") from error
    except Exception as error:  # decoders raise whatever they stumble over
        raise UserError(f"{path}: is no picture that can be read") from error
    if planes.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: holds {planes.dtype} pixels; only 8 and 16 bit can be read")
    has_alpha = planes.shape[-1] in (2, 4)
    colours = planes[..., :-1] if has_alpha else planes
    return Picture(
        pixels=np.divide(colours, np.iinfo(planes.dtype).max, dtype=np.float32),
        alpha=planes[..., -1].copy() if has_alpha else None,
        dtype=planes.dtype.type,
    )


def write_picture(path: str | os.PathLike, picture: Picture) -> None:
    """Writes a picture, all or nothing; makes the folder if need be.

    The suffix decides the format. PNG and TIFF keep 16 bit; elsewhere it becomes 8 bit. Grey turns
    to RGB in WebP and, if it has alpha, in BMP and in 16 bit. JPEG drops alpha, WebP the colours
    where alpha is 0; else all but JPEG are lossless. Pixels are clipped to [0, 1]; NaN is black.

    Raises:
      UserError: the suffix is none of `SUFFIXES`, or the format can not hold so large a picture.
      OSError: the file can not be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: is no picture's name{did_you_mean(suffix, SUFFIXES)}")
    data = _encode(suffix, picture)
    if data is None:
        height, width = picture.pixels.shape[:2]
        raise UserError(f"{path}: can not hold {width} x {height} pixels; a .png file can")
    with replacing(path) as file:
        file.write_bytes(data)


def _decode(data: bytes) -> np.ndarray:
    """[H, W, C], upright; C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    with Image.open(io.BytesIO(data)) as header:
        pillow_mode, is_inverted = _pillow_mode(header), _is_inverted(header)
        # Sees what is wrong with a PNG before libpng, which would say so on stderr.
        header.verify()
    orientation = _orientation(data)
    if pillow_mode:
        with Image.open(io.BytesIO(data)) as picture:
            return _turned(np.asarray(picture.convert(pillow_mode)), orientation)
    planes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if planes is None:
        raise ValueError("cut off, or of an unknown format")
    if is_inverted and planes.dtype == np.uint16:
        planes = 65535 - planes
    return _turned(_swap_red_and_blue(np.atleast_3d(planes)), orientation)


def _pillow_mode(header: Image.Image) -> str | None:
    """What Pillow is to decode to where OpenCV spoils the alpha of 8 bit; None elsewhere."""
    # OpenCV widens grey with alpha to RGB, or drops the alpha, as it does in TIFF.
    if header.mode in ("1", "L", "LA") and header.has_transparency_data:
        return "LA"
    # OpenCV multiplies the colours of such a TIFF by its alpha.
    if header.format == "TIFF" and header.mode == "RGBA":
        bits = header.tag_v2.get(ExifTags.Base.BitsPerSample, ())
        return "RGBA" if set(bits) == {8} else None
    # OpenCV gives such a TIFF an alpha.
    return "RGB" if header.format == "TIFF" and header.mode == "CMYK" else None


def _is_inverted(header: Image.Image) -> bool:
    """Whether 0 is white, as a TIFF may say, which OpenCV hears in 8 bit only."""
    tag = ExifTags.Base.PhotometricInterpretation
    return header.format == "TIFF" and header.tag_v2.get(tag) == 0


def _orientation(data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where there is none."""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data)) as picture:
        # A broken block does not spoil the picture. OpenCV would turn one only where it drops its
        # alpha; TIFF files, whose orientation is not in a block, it always turns. In a PNG what
        # says it may come after the pixels, for which Pillow decodes them all.
        silent = picture.format == "PNG" and not any(mark in data for mark in PNG_MARKS)
        if picture.format != "TIFF" and not silent:
            return picture.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def _turned(planes: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] or [W, H, C], turned and mirrored upright (EXIF 2.32, section 4.6.4)."""
    if orientation in (5, 6, 7, 8):
        planes = planes.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        planes = planes[::-1]
    if orientation in (2, 3, 6, 7):
        planes = planes[:, ::-1]
    return np.ascontiguousarray(planes)


def _encode(suffix: str, picture: Picture) -> bytes | None:
    """The file's content; None where the format can not hold so large a picture."""
    dtype = picture.dtype if suffix in DEEP else np.uint8
    planes = _quantized(picture.pixels, dtype)
    if picture.alpha is not None:
        alpha = picture.alpha / np.iinfo(picture.alpha.dtype).max
        planes = np.concatenate([planes, _quantized(alpha, dtype)[..., None]], axis=-1)
        if dtype == np.uint8 and suffix in DEEP:
            return _by_pillow(suffix, planes)
    if planes.shape[-1] == 2:
        planes = planes[..., [0, 0, 0, 1]]
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix in (".jpeg", ".jpg") else []
    fits, data = cv2.imencode(suffix, _swap_red_and_blue(planes), settings)
    return data.tobytes() if fits else None


def _by_pillow(suffix: str, planes: np.ndarray) -> bytes:
    """8 bit with alpha; OpenCV writes no grey with it, and no TIFF that says what its alpha is."""
    file = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(planes).save(file, "PNG")
    else:
        Image.fromarray(planes).save(file, "TIFF", compression="tiff_lzw")
    return file.getvalue()


def _quantized(values: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """[0, 1] -> [0, largest]; to the nearest."""
    return np.rint(np.clip(np.nan_to_num(values), 0, 1) * np.iinfo(dtype).max).astype(dtype)


def _swap_red_and_blue(planes: np.ndarray) -> np.ndarray:
    """Between OpenCV's order and ours; grey stays as it is."""
    swaps = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    channels = planes.shape[-1]
    return cv2.cvtColor(planes, swaps[channels]) if channels in swaps else planes
