"""The whole picture in sRGB as littlecms computes it without its tables of eight bits: python colours.py IN OUT.

Needs Pillow. Perceptual intent, in floating point between profiles (NOOPTIMIZE), one rounding at the end. OUT gets raw
bytes of red, green and blue; the size goes to standard output. It is the judge of colours for `--colours PYTHON`.
"""

import io
import sys

from PIL import Image, ImageCms, ImageOps

Image.MAX_IMAGE_PIXELS = None
image = Image.open(sys.argv[1])
profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
flags = ImageCms.Flags.NOOPTIMIZE | ImageCms.Flags.NOCACHE
transform = ImageCms.buildTransform(
    profile, ImageCms.createProfile("sRGB"), image.mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags
)
converted = ImageCms.applyTransform(ImageOps.exif_transpose(image), transform)
with open(sys.argv[2], "wb") as file:
    file.write(converted.tobytes())
print(converted.width, converted.height)
