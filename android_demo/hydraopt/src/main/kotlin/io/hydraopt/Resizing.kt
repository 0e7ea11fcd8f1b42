package io.hydraopt

import kotlin.math.abs

/**
 * Resizes as Pillow does, to the bit: rows, then columns, with a filter as wide as needed to read
 * every pixel, in fixed-point numbers that are rounded to 8 bits after each
 * ([Resample.c](https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c)).
 *
 * @param support how far the [filter] reaches, in pixels of the smaller of both pictures.
 */
internal enum class Resizing(private val support: Double, private val filter: (Double) -> Double) {
    BILINEAR(1.0, { if (it < 1) 1 - it else 0.0 }),
    BICUBIC(2.0, {
        when {
            it < 1 -> (1.5 * it - 2.5) * it * it + 1
            it < 2 -> (((it - 5) * it + 8) * it - 4) * -0.5
            else -> 0.0
        }
    });

    /** What a pixel is made of: neighbours from [start] on, and their weights. */
    private class Taps(val start: Int, val weights: IntArray)

    /** Red, green and blue of [picture] with [width] times [height] pixels, row by row. */
    fun resized(picture: Picture, width: Int, height: Int): ByteArray =
        vertically(horizontally(picture, width), width, picture.height, height)

    private fun horizontally(picture: Picture, width: Int): ByteArray {
        val taps = taps(picture.width, width)
        val found = ByteArray(CHANNELS * width * picture.height)
        var at = 0
        for (y in 0 until picture.height) {
            for (tap in taps) {
                val start = y * picture.width + tap.start
                for (shift in 16 downTo 0 step 8) {
                    var sum = HALF
                    for ((index, weight) in tap.weights.withIndex()) {
                        sum += (picture.argb[start + index] ushr shift and 0xff) * weight
                    }
                    found[at++] = rounded(sum)
                }
            }
        }
        return found
    }

    private fun vertically(values: ByteArray, width: Int, from: Int, to: Int): ByteArray {
        val row = CHANNELS * width
        val found = ByteArray(row * to)
        for ((y, tap) in taps(from, to).withIndex()) {
            for (x in 0 until row) {
                var sum = HALF
                for ((index, weight) in tap.weights.withIndex()) {
                    sum += (values[(tap.start + index) * row + x].toInt() and 0xff) * weight
                }
                found[y * row + x] = rounded(sum)
            }
        }
        return found
    }

    private fun taps(from: Int, to: Int): List<Taps> {
        val scale = from.toDouble() / to
        val wide = maxOf(scale, 1.0)
        return List(to) {
            val center = (it + 0.5) * scale
            val start = maxOf((center - support * wide + 0.5).toInt(), 0)
            val end = minOf((center + support * wide + 0.5).toInt(), from)
            val weights = DoubleArray(end - start) { x ->
                filter(abs((x + start - center + 0.5) * (1.0 / wide)))
            }
            val sum = weights.sum()
            Taps(start, IntArray(weights.size) { x -> fixed(weights[x] / sum) })
        }
    }

    private fun fixed(weight: Double): Int =
        ((if (weight < 0) -0.5 else 0.5) + weight * (1 shl BITS)).toInt()

    private fun rounded(sum: Int): Byte = (sum shr BITS).coerceIn(0, 255).toByte()

    private companion object {
        const val CHANNELS = 3
        const val BITS = 22
        const val HALF = 1 shl (BITS - 1)
    }
}
