package io.hydraopt

/**
 * A picture's pixels, row by row from the top, as `Bitmap.getPixels` gives them.
 *
 * @property argb a pixel's alpha, which must be 255, red, green and blue, 8 bits each.
 * @property width in pixels.
 * @property height in pixels.
 * @throws TaskException pixels are missing or left over, or not opaque.
 */
class Picture(val argb: IntArray, val width: Int, val height: Int) {
    init {
        if (width <= 0 || height <= 0 || argb.size.toLong() != width.toLong() * height) {
            throw TaskException(
                "the picture has ${argb.size} pixels, expected $width x $height; pass all of them"
            )
        }
        if (argb.any { it ushr 24 != 255 }) {
            throw TaskException(
                "the picture has transparent pixels, expected opaque RGB; draw it on a background"
            )
        }
    }
}
