"""The commands on a person's own pictures, by the command line: files in, files out."""

import dataclasses
import pathlib
import shutil
import types

import cv2
import numpy as np
import pytest
from PIL import Image

import genjax
import launch
from genjax import picture_commands
from genjax.data.shapes import RANGES
from genjax.imaging.pictures import read_picture

QUICK = ("--restarts=2", "--steps=3")
NAMES = ("alpha.png", "deep.png", "grey.png", "photo.jpg")


def run(command: str, workdir, source, target, *flags: str) -> None:
    paths = [f"--workdir={workdir}", f"--input={source}", f"--output={target}"]
    assert launch.main(["launch.py", command, *paths, *flags]) == 0


def smooth(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """A picture that JPEG keeps nearly as it is: uint8 [H, W, C]."""
    coarse = np.random.default_rng(seed).uniform(60, 200, (4, 4, channels)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels.reshape(height, width, channels).astype(np.uint8)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> pathlib.Path:
    """A grey PNG, an RGB JPEG, a PNG with transparency, and one of 16 bit, of several sizes."""
    folder = tmp_path_factory.mktemp("mixed")
    Image.fromarray(smooth(28, 28, 1)[..., 0]).save(folder / "grey.png")
    Image.fromarray(smooth(33, 24, 3)).save(folder / "photo.jpg")
    Image.fromarray(smooth(20, 30, 4)).save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), smooth(28, 20, 1).astype(np.uint16) * 257)
    return folder


@pytest.fixture(scope="module")
def digits(picture_runs, tmp_path_factory) -> pathlib.Path:
    """Two digits of 28 x 28."""
    folder = tmp_path_factory.mktemp("digits")
    source = genjax.load(picture_runs["vae"]).experiment.sources["test"]
    for number in range(2):
        Image.fromarray(source[number]["image"][..., 0]).save(folder / f"{number}.png")
    return folder


def form(path: pathlib.Path) -> tuple:
    """What a file is, but for its pixels."""
    with Image.open(path) as picture:
        return picture.size, picture.mode, picture.format


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pixels(path: pathlib.Path) -> np.ndarray:
    return read_picture(path).pixels


def assert_same_form(source: pathlib.Path, target: pathlib.Path) -> None:
    for name in names(source):
        assert form(target / name) == form(source / name)
    before, after = (read_picture(folder / "alpha.png") for folder in (source, target))
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert read_picture(target / "deep.png").dtype is np.uint16


@pytest.mark.parametrize(
    "typed",
    [
        "restore restore",
        "restore vae --degradation=gaussian_noise:0.1 --restarts=2 --steps=3",
        "translate cycle",
        "translate cycle --back",
        "compose gan --labels=3,7",
        "enhance vae",
        "enhance shapes --attribute=light",
    ],
)
def test_pictures_come_back_as_they_came(typed, picture_runs, mixed, tmp_path, monkeypatch, digits):
    monkeypatch.setattr(picture_commands, "NUM_DRAWINGS", 8)
    command, model, *flags = typed.split()
    if typed == "enhance vae":
        flags = [f"--before={digits}", f"--after={digits}"]
    run(command, picture_runs[model], mixed, tmp_path / "out", *flags)
    assert names(tmp_path / "out") == set(NAMES)
    assert_same_form(mixed, tmp_path / "out")


def test_panels_and_uncertainty_stand_beside_the_pictures(picture_runs, mixed, tmp_path):
    flags = ["--degradation=gaussian_noise:0.1", *QUICK, "--panel", "--uncertainty"]
    run("restore", picture_runs["vae"], mixed, tmp_path, *flags)
    stems = {pathlib.Path(name).stem for name in NAMES}
    extra = {f"{stem}{suffix}.png" for stem in stems for suffix in ("_panel", "_uncertainty")}
    assert names(tmp_path) == set(NAMES) | extra
    # Damaged | restored, two pixels between; a deviation for each value.
    assert form(tmp_path / "photo_panel.png")[:2] == ((2 * 24 + 2, 33), "RGB")
    assert form(tmp_path / "photo_uncertainty.png")[:2] == ((24, 33), "RGB")
    assert form(tmp_path / "grey_uncertainty.png")[:2] == ((28, 28), "L")
    assert pixels(tmp_path / "grey_uncertainty.png").max() > 0
    panel = pixels(tmp_path / "grey_panel.png")
    np.testing.assert_array_equal(panel[:, :28, :1], pixels(mixed / "grey.png"))
    np.testing.assert_array_equal(panel[:, 30:, :1], pixels(tmp_path / "grey.png"))


def test_what_is_there_is_skipped(picture_runs, mixed, tmp_path, capsys):
    run("translate", picture_runs["cycle"], mixed, tmp_path)
    assert "4 pictures translated" in capsys.readouterr().out
    (tmp_path / "grey.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run("translate", picture_runs["cycle"], mixed, tmp_path)
    assert "1 picture translated" in capsys.readouterr().out
    run("translate", picture_runs["cycle"], mixed, tmp_path)
    assert "0 pictures translated" in (said := capsys.readouterr().out)
    assert "4 were there already" in said
    assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}.items()


def test_brackets_and_colons_of_a_name_are_said_as_they_are(picture_runs, digits, tmp_path, capsys):
    target = tmp_path / "out [final] :smile: [/b]"
    run("translate", picture_runs["cycle"], digits / "0.png", target)
    assert capsys.readouterr().out == f"1 picture translated in {target}\n"


def test_pictures_of_other_formats_are_counted_and_one_is_named(
    picture_runs, digits, tmp_path, capsys
):
    source, target = shutil.copytree(digits, tmp_path / "in"), tmp_path / "out"
    for name in ("b.gif", "a/c.HEIC", ".d.gif", "notes.txt"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    run("translate", picture_runs["cycle"], source, target)
    said = capsys.readouterr().out
    assert "left out: a/c.HEIC and 1 more; pictures that are read end in .bmp, .jpeg" in said
    run("translate", picture_runs["cycle"], source / "0.png", target)
    assert "left out" not in capsys.readouterr().out


def test_a_broken_picture_is_named_and_the_others_are_written(
    picture_runs, digits, tmp_path, capsys
):
    source = tmp_path / "in"
    source.mkdir()
    for path in digits.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "0a.png").write_bytes((digits / "0.png").read_bytes()[:60])
    paths = [f"--workdir={picture_runs['restore']}", f"--input={source}"]
    code = launch.main(["launch.py", "restore", *paths, f"--output={tmp_path / 'out'}"])
    output = capsys.readouterr()
    assert code == 2
    assert len(output.err.splitlines()) == 1
    assert f"{source / '0a.png'}: is no picture" in output.err
    assert "2 pictures restored" in output.out
    assert names(tmp_path / "out") == {"0.png", "1.png"}


def test_python_and_the_command_line_give_the_same_pixels(picture_runs, digits, tmp_path):
    picture = pixels(digits / "1.png")
    noise = "gaussian_noise:0.1"
    flags = {
        "restore": (f"--degradation={noise}", "--seed=3", *QUICK),
        "translate": ("--back",),
    }
    vae, cycle = (genjax.load(picture_runs[name]) for name in ("vae", "cycle"))
    made = {
        "restore": vae.restore(picture, noise, restarts=2, steps=3, seed=3),
        "translate": cycle.translate(picture, back=True),
    }
    for command, model in (("restore", "vae"), ("translate", "cycle")):
        run(command, picture_runs[model], digits / "1.png", tmp_path / command, *flags[command])
        # Half a level, and what compiling for another batch leaves.
        written = pixels(tmp_path / command / "1.png")
        assert np.abs(written - made[command]).max() < 0.51 / 255


@pytest.mark.parametrize("method", ["search", "impute"])
def test_white_of_a_mask_is_what_is_there(picture_runs, digits, tmp_path, method):
    left = np.zeros((28, 28), np.uint8)
    left[:, :14] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(left).save(tmp_path / "masks" / "0.png")
    Image.fromarray(255 - left).save(tmp_path / "masks" / "1.png")
    flags = ["--degradation=missing_box", f"--method={method}", *QUICK]
    run(
        "restore", picture_runs["vae"], digits, tmp_path / "out",
        *flags, f"--mask={tmp_path / 'masks'}",
    )  # fmt: skip
    run(
        "restore", picture_runs["vae"], digits, tmp_path / "one",
        *flags, f"--mask={tmp_path / 'masks' / '0.png'}",
    )  # fmt: skip
    there = {"0.png": np.s_[:, :14], "1.png": np.s_[:, 14:]}
    for name, part in there.items():
        change = np.abs(pixels(tmp_path / "out" / name) - pixels(digits / name))
        assert change[part].max() < 0.03 < change.max()
    # One mask serves all.
    np.testing.assert_array_equal(pixels(tmp_path / "one/0.png"), pixels(tmp_path / "out/0.png"))
    change = np.abs(pixels(tmp_path / "one" / "1.png") - pixels(digits / "1.png"))
    assert change[:, :14].max() < 0.03 < change[:, 14:].max()


def test_two_pictures_of_one_name_are_no_masks_and_no_partners(picture_runs, tmp_path, capsys):
    for name in ("in/x.png", "two/x.png", "two/x.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (28, 28), 255).save(tmp_path / name)
    two = tmp_path / "two"
    for command, model, flags in (
        ("restore", "restore", [f"--mask={two}"]),
        ("enhance", "vae", [f"--before={tmp_path / 'in'}", f"--after={two}"]),
    ):
        typed = [f"--workdir={picture_runs[model]}", f"--input={tmp_path / 'in'}"]
        typed += [f"--output={tmp_path / 'out'}", *flags]
        assert launch.main(["launch.py", command, *typed]) == 2
        said = "x.bmp and x.png have one name; rename one\n"
        assert capsys.readouterr().err == f"error: {flags[-1].split('=')[0]}: {said}"


def test_a_trained_network_is_told_what_a_mask_says(picture_runs, digits, tmp_path):
    mask = np.full((28, 28), 255, np.uint8)
    mask[:, 14:] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    flag = f"--mask={tmp_path / 'mask.png'}"
    run("restore", picture_runs["restore"], digits / "1.png", tmp_path / "out", flag)
    picture = read_picture(digits / "1.png").pixels
    truth = {"mask": (mask > 0).astype(np.float32)[..., None]}
    made = genjax.load(picture_runs["restore"]).restore(picture, "missing_pixels", truth)
    written = read_picture(tmp_path / "out" / "1.png").pixels
    assert np.abs(written - made).max() < 0.51 / 255


@pytest.mark.parametrize("model", ["restore", "vae"])
def test_degrade_damages_first_and_says_how_well(picture_runs, digits, tmp_path, capsys, model):
    flags = ["--degradation=missing_half", "--degrade", "--panel", *QUICK]
    run("restore", picture_runs[model], digits, tmp_path, *flags)
    assert "PSNR" in (said := capsys.readouterr().out)
    assert "SSIM" in said
    panel, whole = pixels(tmp_path / "0_panel.png"), pixels(digits / "0.png")
    damaged, restored, true = (panel[:, at : at + 28, :1] for at in (0, 30, 60))
    assert panel.shape == (28, 88, 3)
    np.testing.assert_array_equal(true, whole)
    np.testing.assert_array_equal(restored, pixels(tmp_path / "0.png"))
    assert ((damaged == whole) | (damaged == 0)).all()
    assert (damaged != whole).any()


def test_enlarge_makes_pictures_larger(picture_runs, mixed, tmp_path):
    run("restore", picture_runs["restore"], mixed, tmp_path, "--enlarge=2")
    for name in NAMES:
        (width, height), *rest = form(mixed / name)
        assert form(tmp_path / name) == ((2 * width, 2 * height), *rest)
    assert read_picture(tmp_path / "alpha.png").alpha.shape == (40, 60)


def test_truncated_samples_have_a_folder_of_their_own(picture_runs, tmp_path):
    out = {}
    for cut in ("0", "0.1"):
        flags = [f"--workdir={picture_runs['gan']}", "--num=20", f"--truncation={cut}"]
        folder = tmp_path / cut
        assert launch.main(["launch.py", "sample", *flags, f"--out={folder}"]) == 0
        out[cut] = np.stack([pixels(path) for path in sorted(folder.glob("0*.png"))])
    assert out["0"].shape == out["0.1"].shape == (20, 28, 28, 1)
    # Two samples of a class are nearly one where their latents are nearly zero.
    apart = {cut: np.abs(images[:10] - images[10:]).mean() for cut, images in out.items()}
    assert apart["0.1"] < 0.5 * apart["0"]


def test_the_grid_of_a_model_with_labels_is_class_by_class(picture_runs, tmp_path):
    workdir = picture_runs["gan"]
    flags = [f"--workdir={workdir}", "--num=20", f"--out={tmp_path}"]
    assert launch.main(["launch.py", "sample", *flags]) == 0
    grid = pixels(tmp_path / "grid.png")[..., 0]
    # Two columns of tiles, each enlarged twice, at the right; a class a row.
    side = 2 * 28 + 2
    left = grid.shape[1] - 2 * side
    for number in range(20):
        column, row = divmod(number, 10)
        top, start = 2 + row * side, left + column * side
        tile = grid[top : top + 56 : 2, start : start + 56 : 2]
        (path,) = tmp_path.glob(f"{number:05}_{row}.png")
        np.testing.assert_array_equal(tile, pixels(path)[..., 0])


def test_pictures_are_enhanced_from_before_to_after(picture_runs, digits, tmp_path):
    (tmp_path / "dark").mkdir()
    for path in digits.iterdir():
        Image.fromarray((255 * 0.4 * pixels(path)[..., 0]).astype(np.uint8)).save(
            tmp_path / "dark" / path.name
        )
    pair = [f"--before={digits}", f"--after={tmp_path / 'dark'}", "--panel"]
    for amount in ("0", "1"):
        run(
            "enhance", picture_runs["vae"], digits, tmp_path / amount, *pair, f"--amount={amount}"
        )  # fmt: skip
    vae = genjax.load(picture_runs["vae"])
    before = np.stack([pixels(digits / f"{n}.png") for n in (0, 1)])
    after = np.stack([pixels(tmp_path / "dark" / f"{n}.png") for n in (0, 1)])
    wanted = vae.enhance(before, vae.direction(before, after), 1.0)
    for number in (0, 1):
        np.testing.assert_allclose(
            pixels(tmp_path / "1" / f"{number}.png"), wanted[number], atol=0.51 / 255
        )
        still = pixels(tmp_path / "0" / f"{number}.png")
        np.testing.assert_allclose(still, vae.reconstruct(before)[number], atol=0.51 / 255)
        panel = pixels(tmp_path / "1" / f"{number}_panel.png")
        np.testing.assert_array_equal(panel[:, :28, :1], before[number])


def test_an_attribute_is_moved_in_its_own_unit(picture_runs, monkeypatch):
    """The drawings differ by a tenth of the factor's range, and the amount counts in its unit."""
    monkeypatch.setattr(picture_commands, "NUM_DRAWINGS", 6)
    shapes = genjax.load(picture_runs["shapes"])
    seen = {}

    def direction(before, after, amounts):
        seen.update(before=before, after=after, amounts=amounts)

    monkeypatch.setattr(type(shapes), "direction", lambda _, *args: direction(*args))
    picture_commands.attribute_direction(shapes, "light")
    low, high = RANGES["light"]
    np.testing.assert_allclose(seen["amounts"], 0.1 * (high - low))
    brightest = [seen[side].max((1, 2, 3)) for side in ("before", "after")]
    np.testing.assert_allclose(brightest[1] - brightest[0], 0.06, atol=1 / 255)


def test_pieces_become_one_picture(picture_runs, digits, tmp_path, capsys):
    left = np.zeros((28, 28), np.uint8)
    left[:, :14] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(left).save(tmp_path / "masks" / "0.png")
    Image.fromarray(255 - left).save(tmp_path / "masks" / "1.png")
    flags = [f"--masks={tmp_path / 'masks'}", *QUICK]
    run("compose", picture_runs["vae"], digits, tmp_path / "out", *flags)
    assert names(tmp_path / "out") == {"composed.png", "panel.png"}
    made = pixels(tmp_path / "out" / "composed.png")
    for name, part in (("0.png", np.s_[:, :8]), ("1.png", np.s_[:, 20:])):
        np.testing.assert_allclose(made[part], pixels(digits / name)[part], atol=1 / 255)
    # Both pieces | pasted | composed.
    panel = pixels(tmp_path / "out" / "panel.png")[..., :1]
    assert panel.shape == (28, 4 * 30 - 2, 1)
    np.testing.assert_array_equal(panel[:, 30:58], pixels(digits / "1.png"))
    np.testing.assert_array_equal(panel[:, 90:], made)
    assert "seam" in capsys.readouterr().out
    before = (tmp_path / "out" / "composed.png").stat().st_mtime_ns
    run("compose", picture_runs["vae"], digits, tmp_path / "out", *flags)
    assert (tmp_path / "out" / "composed.png").stat().st_mtime_ns == before
    assert "was there already" in capsys.readouterr().out


def test_what_is_made_of_pieces_is_opaque_and_in_colour_or_deep_if_one_is(picture_runs, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    cut = np.dstack([smooth(28, 28, 3), np.zeros((28, 28, 1), np.uint8)])
    Image.fromarray(cut).save(tmp_path / "in" / "a.png")
    cv2.imwrite(str(tmp_path / "in" / "b.png"), smooth(28, 28, 1).astype(np.uint16) * 257)
    for name in ("a", "b"):
        Image.new("L", (28, 28), 255).save(tmp_path / "masks" / f"{name}.png")
    flags = [f"--masks={tmp_path / 'masks'}", *QUICK]
    run("compose", picture_runs["vae"], tmp_path / "in", tmp_path / "out", *flags)
    made = read_picture(tmp_path / "out" / "composed.png")
    assert made.alpha is None
    assert made.pixels.shape == (28, 28, 3)
    assert made.dtype is np.uint16


def test_a_side_that_shrinks_is_a_mean_whatever_the_other_does():
    """Stripes of black and white, 500 of each: any mean of many is grey."""
    stripes = np.zeros((20, 1000, 1), np.float32)
    stripes[:, ::2] = 1
    np.testing.assert_allclose(picture_commands.resized(stripes, (28, 28, 1)), 0.5, atol=0.03)
    made = picture_commands.resized(stripes.transpose(1, 0, 2), (25, 40, 1))
    np.testing.assert_allclose(made, 0.5, atol=1e-6)
    assert made.shape == (25, 40, 1)


def test_a_class_is_turned_into_another(picture_runs, digits, tmp_path):
    for labels in ("3,7", "3,8"):
        run("compose", picture_runs["gan"], digits, tmp_path / labels, f"--labels={labels}")
    assert names(tmp_path / "3,7") == {"0.png", "1.png"}
    seven, eight = (pixels(tmp_path / labels / "0.png") for labels in ("3,7", "3,8"))
    assert np.abs(seven - eight).max() > 1 / 255
    # The search for the latents is the one asked for.
    flags = ["--labels=3,7", "--steps=1"]
    run("compose", picture_runs["gan"], digits / "0.png", tmp_path / "quick", *flags)
    assert np.abs(pixels(tmp_path / "quick" / "0.png") - seven).max() > 1 / 255


def test_what_some_have_and_others_have_not_is_added(picture_runs, digits, tmp_path):
    ends = {}
    for name, number in (("plus", 0), ("minus", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "any.png").write_bytes((digits / f"{number}.png").read_bytes())
        ends[name] = pixels(digits / f"{number}.png")[None]
    flags = [f"--plus={tmp_path / 'plus'}", f"--minus={tmp_path / 'minus'}"]
    run("compose", picture_runs["vae"], digits, tmp_path / "out", *flags)
    # The second digit, with the first's latents in place of its own, is the first.
    vae = genjax.load(picture_runs["vae"])
    wanted = vae.reconstruct(ends["plus"])[0]
    np.testing.assert_allclose(pixels(tmp_path / "out" / "1.png"), wanted, atol=0.51 / 255)


def test_a_network_trained_without_holes_takes_no_mask(
    picture_runs, digits, tmp_path, capsys, monkeypatch
):
    loaded = genjax.load(picture_runs["restore"])
    model = dataclasses.replace(loaded.model, told_holes=False)
    monkeypatch.setattr(picture_commands, "load", lambda _: types.SimpleNamespace(model=model))
    flags = [f"--input={digits}", f"--output={tmp_path / 'out'}", f"--mask={digits}"]
    typed = ["launch.py", "restore", f"--workdir={picture_runs['restore']}", *flags]
    assert launch.main(typed) == 2
    assert "--mask: this network was trained on pictures without holes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
