package io.hydraopt

import android.graphics.Bitmap

/**
 * The pixels of a bitmap, in sRGB.
 *
 * A photo must be upright: `BitmapFactory` does not turn it as its EXIF orientation says,
 * `ImageDecoder` does.
 *
 * @throws TaskException it is recycled, or has transparent pixels.
 */
fun Bitmap.toPicture(): Picture {
    if (isRecycled) {
        throw TaskException("the bitmap is recycled; make a picture of it before that")
    }
    val hardware = config == Bitmap.Config.HARDWARE // whose pixels the CPU cannot read
    val readable = if (hardware) copy(Bitmap.Config.ARGB_8888, false) else this
    val argb = IntArray(width * height)
    readable.getPixels(argb, 0, width, 0, 0, width, height)
    return Picture(argb, width, height)
}
