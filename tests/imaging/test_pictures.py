import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from genjax.errors import UserError
from genjax.imaging.pictures import SUFFIXES, Picture, pictures_in, read_picture, write_picture

HEIGHT, WIDTH = 24, 32
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def random_planes(channels, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    return rng.integers(0, top, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def png(planes: np.ndarray) -> bytes:
    """A PNG of 8 or 16 bit as the standard has it (ISO 15948), by none of the libraries in use."""
    height, width, channels = planes.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, planes.itemsize * 8, colour_type, 0, 0, 0)
    rows = (b"\0" + row.astype(planes.dtype.newbyteorder(">")).tobytes() for row in planes)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def by_pillow(planes: np.ndarray, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    Image.fromarray(planes[..., 0] if planes.shape[-1] == 1 else planes).save(
        file, kind, **settings
    )
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_is_read_to_the_bit(tmp_path, channels, dtype):
    planes = random_planes(channels, dtype)
    (tmp_path / "a.png").write_bytes(png(planes))
    picture = read_picture(tmp_path / "a.png")
    colours = planes[..., :-1] if channels in (2, 4) else planes
    if (channels, dtype) == (2, np.uint16):
        colours = colours.repeat(3, axis=-1)  # what is promised for grey with alpha in 16 bit
    assert picture.dtype == dtype
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels, colours / np.float32(np.iinfo(dtype).max))
    if channels in (2, 4):
        assert picture.alpha.dtype == dtype
        np.testing.assert_array_equal(picture.alpha, planes[..., -1])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_and_tiff_keep_every_kind_to_the_bit(tmp_path, channels, dtype, suffix):
    (tmp_path / "a.png").write_bytes(png(random_planes(channels, dtype)))
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / f"b{suffix}", picture)
    again = read_picture(tmp_path / f"b{suffix}")
    assert again.dtype == dtype
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    np.testing.assert_array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_others_read_what_is_written(tmp_path, channels):
    planes = random_planes(channels)
    (tmp_path / "a.png").write_bytes(png(planes))
    write_picture(tmp_path / "b.png", read_picture(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as written:
        assert written.mode == MODES[channels]
        np.testing.assert_array_equal(np.asarray(written).reshape(planes.shape), planes)


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_bmp_and_webp_are_lossless(tmp_path, suffix):
    planes = random_planes(4)
    planes[..., -1] = np.maximum(planes[..., -1], 1)  # WebP drops colours that no one can see
    (tmp_path / "a.png").write_bytes(png(planes))
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / f"b{suffix}", picture)
    with Image.open(tmp_path / f"b{suffix}") as written:
        np.testing.assert_array_equal(np.asarray(written), planes)


@pytest.mark.parametrize(("suffix", "dtype"), [(".bmp", np.uint8), (".png", np.uint16)])
def test_grey_becomes_colour_where_its_alpha_could_not_be_kept(tmp_path, suffix, dtype):
    planes = random_planes(2, dtype)
    grey = (planes[..., :1] / np.float32(np.iinfo(dtype).max)).astype(np.float32)
    write_picture(tmp_path / f"a{suffix}", Picture(grey, planes[..., 1], dtype))
    picture = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, grey.repeat(3, axis=-1))
    np.testing.assert_array_equal(picture.alpha, planes[..., 1])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".webp"])
def test_formats_of_8_bit_take_16_bit_pictures(tmp_path, suffix):
    level = 0.5 / 255 + 100 / 255 + 1e-4  # just above the middle between 100 and 101
    alpha = np.full((8, 8), 65535, np.uint16)
    write_picture(
        tmp_path / f"a{suffix}", Picture(np.full((8, 8, 3), level, np.float32), alpha, np.uint16)
    )
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.dtype == np.uint8
    assert (np.rint(picture.pixels * 255) == 101).all()
    assert picture.alpha is None or (picture.alpha == 255).all()


def test_pixels_are_rounded_and_clipped_and_nan_is_black(tmp_path):
    values = [-1, 2, np.nan, np.inf, -np.inf, 99.6 / 255, 99.4 / 255]
    write_picture(tmp_path / "a.png", Picture(np.array(values, np.float32)[None, :, None]))
    with Image.open(tmp_path / "a.png") as written:
        assert np.asarray(written).tolist() == [[0, 255, 0, 255, 0, 100, 99]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(tmp_path, orientation, kind):
    # Four quarters, blurred by no codec: black, dark, light, white. They stand as EXIF 2.32, table
    # 6, says where row 0 and column 0 of the stored picture are seen.
    quarters = np.array([[0, 80], [160, 255]], np.uint8)
    stored = quarters.repeat(16, axis=0).repeat(24, axis=1)[..., None].repeat(3, axis=-1)
    upright = {
        1: [[0, 80], [160, 255]],  # top, left
        2: [[80, 0], [255, 160]],  # top, right
        3: [[255, 160], [80, 0]],  # bottom, right
        4: [[160, 255], [0, 80]],  # bottom, left
        5: [[0, 160], [80, 255]],  # left, top
        6: [[160, 0], [255, 80]],  # right, top
        7: [[255, 80], [160, 0]],  # right, bottom
        8: [[80, 255], [0, 160]],  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(by_pillow(stored, kind, exif=exif))
    pixels = read_picture(file).pixels
    assert pixels.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    height, width = pixels.shape[:2]
    seen = pixels[height // 4 :: height // 2, width // 4 :: width // 2, 0]
    np.testing.assert_allclose(seen * 255, upright, atol=6)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def turned_files() -> dict[str, bytes]:
    """A picture of 24 x 32, to be turned by a quarter, as several programs say so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    planes = random_planes(3)
    whole, end = png(planes)[:-12], png(planes)[-12:]
    text = b"\nexif\n%8d\n%s\n" % (len(block) + 6, (b"Exif\0\0" + block).hex().encode())
    raw = b"Raw profile type exif\0\0" + zlib.compress(text)
    return {
        "chunk after the pixels.png": whole + chunk(b"eXIf", block) + end,
        "text after the pixels.png": whole + chunk(b"zTXt", raw) + end,
        "xmp.png": whole + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + end,
        "xmp.jpg": by_pillow(planes, "JPEG", xmp=xmp),
    }


@pytest.mark.parametrize("name", turned_files())
def test_pictures_come_upright_whatever_says_how(tmp_path, name):
    """As they come where pictures are trained on."""
    file = tmp_path / name
    file.write_bytes(turned_files()[name])
    pixels = read_picture(file).pixels
    assert pixels.shape == (WIDTH, HEIGHT, 3)
    with Image.open(file) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture)) / np.float32(255)
    np.testing.assert_allclose(pixels, expected, atol=2 / 255)  # JPEG, by two libraries


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_may_say_that_0_is_white(tmp_path, dtype):
    planes = random_planes(1, dtype)[..., 0]
    file = tmp_path / "a.tif"
    Image.fromarray(planes).save(file, tiffinfo={262: 0})
    with Image.open(file) as written:
        assert written.tag_v2[262] == 0
    stored = np.frombuffer(stored_of(file), dtype).reshape(planes.shape)
    top = np.iinfo(dtype).max
    np.testing.assert_array_equal(
        read_picture(file).pixels[..., 0], (top - stored) / np.float32(top)
    )


def stored_of(file) -> bytes:
    """The values of a TIFF in one strip, as they lie in the file."""
    with Image.open(file) as picture:
        (start,), (length,) = picture.tag_v2[273], picture.tag_v2[279]
    return file.read_bytes()[start : start + length]


def test_a_tiff_of_four_inks_is_opaque(tmp_path):
    Image.new("CMYK", (4, 3), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    picture = read_picture(tmp_path / "a.tif")
    assert picture.alpha is None
    np.testing.assert_allclose(picture.pixels, np.broadcast_to([0, 1, 1], (3, 4, 3)), atol=0.01)


def test_alpha_is_turned_with_its_picture(tmp_path):
    planes = random_planes(4)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    (tmp_path / "a.png").write_bytes(by_pillow(planes, "PNG", exif=exif))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.alpha, np.rot90(planes[..., 3], -1))
    np.testing.assert_array_equal(picture.pixels * 255, np.rot90(planes[..., :3], -1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_tiff_comes_upright_and_its_colours_are_not_multiplied_by_its_alpha(tmp_path, channels):
    planes = random_planes(channels)
    (tmp_path / "a.tif").write_bytes(by_pillow(planes, "TIFF", tiffinfo={0x0112: 6}))
    picture = read_picture(tmp_path / "a.tif")
    upright = np.rot90(planes, -1)
    colours = upright[..., :-1] if channels in (2, 4) else upright
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), colours)
    if channels in (2, 4):
        np.testing.assert_array_equal(picture.alpha, upright[..., -1])


def test_a_palette_comes_as_colour_with_its_transparent_entry(tmp_path):
    picture = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.save(tmp_path / "a.png", transparency=3)
    read = read_picture(tmp_path / "a.png")
    assert (read.pixels * 255).tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]]
    assert read.alpha.tolist() == [[255, 255], [255, 0]]


def test_a_transparent_level_of_grey_becomes_alpha(tmp_path):
    Image.fromarray(np.array([[7, 8]], np.uint8)).save(tmp_path / "a.png", transparency=7)
    picture = read_picture(tmp_path / "a.png")
    assert (picture.pixels * 255).tolist() == [[[7], [8]]]
    assert picture.alpha.tolist() == [[0, 255]]


def test_a_jpeg_is_written_at_quality_95(tmp_path):
    planes = random_planes(3)
    write_picture(tmp_path / "a.jpg", Picture(planes / np.float32(255)))
    with (
        Image.open(tmp_path / "a.jpg") as written,
        Image.open(io.BytesIO(by_pillow(planes, "JPEG", quality=95))) as wanted,
    ):
        assert written.quantization == wanted.quantization


def test_only_the_whole_file_is_left(tmp_path, monkeypatch):
    file = tmp_path / "new" / "folder" / "ä b.png"
    write_picture(file, Picture(np.ones((2, 2, 1), np.float32)))
    before = file.read_bytes()

    def half(path, data):
        with path.open("wb") as opened:
            opened.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(file), "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        write_picture(file, Picture(np.zeros((9, 9, 1), np.float32)))
    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == before


def test_who_reads_the_old_file_meanwhile_keeps_it(tmp_path):
    file = tmp_path / "a.png"
    write_picture(file, Picture(np.ones((2, 2, 1), np.float32)))
    before = file.read_bytes()
    with file.open("rb") as opened:
        write_picture(file, Picture(np.zeros((9, 9, 1), np.float32)))
        assert opened.read() == before
    assert file.read_bytes() != before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("part", [0, 0.5, 0.9, 0.99])
def test_a_file_cut_off_is_an_error_of_one_line(tmp_path, capfd, kind, part):
    ramp = np.linspace(0, 255, 300).astype(np.uint8)[:, None, None] * np.ones((1, 200, 3), np.uint8)
    whole = by_pillow(ramp + random_planes(3).max() // 64, kind)
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(whole)
    assert read_picture(file).pixels.shape == (300, 200, 3)
    file.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match="is no picture that can be read") as caught:
        read_picture(file)
    assert str(caught.value).startswith(str(file))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("missing", [1, 4, 12, 20])
def test_a_png_without_its_last_bytes_is_an_error(tmp_path, missing):
    (tmp_path / "a.png").write_bytes(png(random_planes(3))[:-missing])
    with pytest.raises(UserError, match="is no picture"):
        read_picture(tmp_path / "a.png")


def test_a_png_with_a_flipped_bit_is_an_error(tmp_path, capfd):
    data = bytearray(png(random_planes(3)))
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match="is no picture"):
        read_picture(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


def test_what_is_no_picture_is_an_error(tmp_path):
    (tmp_path / "text.png").write_text("not a picture\n")
    (tmp_path / "folder.png").mkdir()
    cases = {
        "text.png": "is no picture that can be read",
        "folder.png": "can not be read: Is a directory",
        "none.png": "can not be read: No such file",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=f"{name}: {message}"):
            read_picture(tmp_path / name)


def test_a_picture_of_floats_is_an_error(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.ones((4, 4), np.float32))
    with pytest.raises(UserError, match="holds float32 pixels; only 8 and 16 bit"):
        read_picture(tmp_path / "a.tif")


def test_an_enormous_picture_is_named_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "a.png").write_bytes(png(random_planes(1)))
    with pytest.raises(UserError, match="has more than 200 pixels"):
        read_picture(tmp_path / "a.png")


def test_a_picture_too_large_for_its_format_is_an_error(tmp_path):
    picture = Picture(np.zeros((1, 16384, 3), np.float32))  # WebP has 14 bits for the width
    with pytest.raises(
        UserError, match=r"a\.webp: can not hold 16384 x 1 pixels; a \.png file can"
    ):
        write_picture(tmp_path / "a.webp", picture)
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"did you mean '\.jpg'"):
        write_picture(tmp_path / "a.jpq", Picture(np.zeros((2, 2, 1), np.float32)))


def test_alpha_follows_the_size_of_new_pixels():
    alpha = np.zeros((8, 8), np.uint16)
    alpha[:, 4:] = 65535
    picture = Picture(np.zeros((8, 8, 1), np.float32), alpha, np.uint16)
    same = picture.with_pixels(np.ones((8, 8, 3)))
    assert same.alpha is alpha
    assert (same.pixels.shape, same.pixels.dtype) == ((8, 8, 3), np.float32)
    for height, width in [(4, 4), (16, 32)]:
        other = picture.with_pixels(np.zeros((height, width, 1), np.float32))
        assert (other.alpha.shape, other.alpha.dtype) == ((height, width), np.uint16)
        assert (other.alpha[:, : width // 2 - 2] == 0).all()
        assert (other.alpha[:, width // 2 + 2 :] == 65535).all()


def test_a_shrunk_alpha_is_the_mean_of_what_it_covers():
    alpha = np.indices((8, 8)).sum(axis=0).astype(np.uint8) % 2 * 200
    picture = Picture(np.zeros((8, 8, 1), np.float32), alpha)
    assert (picture.with_pixels(np.zeros((4, 4, 1), np.float32)).alpha == 100).all()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (0, 4, 3), (1, 4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected pixels"):
        Picture(np.zeros(shape, np.float32))


def test_an_alpha_of_another_size_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        Picture(np.zeros((4, 4, 1), np.float32), np.zeros((4, 5), np.uint8))


def test_pictures_of_a_folder_are_sorted_and_hidden_ones_left_out(tmp_path):
    seen = ["B.PNG", "a/c.jpg", "a/d/e.tiff", "f.webp"]
    hidden = [".a.png", ".cache/a.png", "a/.b.png", "notes.txt", "png"]
    for name in seen + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [name.as_posix() for name in pictures_in(tmp_path)] == seen
    # A folder that lies in a hidden one is not hidden itself, once it is named.
    assert [str(name) for name in pictures_in(tmp_path / ".cache")] == ["a.png"]


def test_one_picture_gives_its_own_name(tmp_path):
    (tmp_path / "a.png").touch()
    assert [str(name) for name in pictures_in(tmp_path / "a.png")] == ["a.png"]


def test_where_there_are_no_pictures_the_flag_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        UserError, match=r"^--reference: no pictures in .*that are read end in \.bmp"
    ):
        pictures_in(tmp_path, "--reference")
    with pytest.raises(UserError, match=r"^--input: no such file or folder"):
        pictures_in(tmp_path / "none")
    with pytest.raises(
        UserError, match=r"notes\.txt' is no picture; pictures that are read end in"
    ):
        pictures_in(tmp_path / "notes.txt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_can_be_written_and_read(tmp_path, suffix):
    pixels = np.full((16, 16, 3), 0.2, np.float32) * [1, 2, 3]  # no two channels alike
    write_picture(tmp_path / f"a{suffix}", Picture(pixels.astype(np.float32)))
    np.testing.assert_allclose(read_picture(tmp_path / f"a{suffix}").pixels, pixels, atol=0.02)
