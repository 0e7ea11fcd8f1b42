package io.hydraopt

/** Turns pictures into an image model's input, as the base's image preprocessor does. */
internal class PixelValues(private val model: Model.Image) {
    /**
     * float32 values of [picture], channel by channel.
     *
     * @throws TaskException the bundle does not say how, or an edge is too long.
     */
    fun of(picture: Picture): FloatArray {
        val steps = model.preprocessing ?: throw TaskException(
            "the bundle does not say how pictures become pixel values, as its base model has no " +
                "image preprocessor of a supported form; pass pixel values, float32 ${model.shape}"
        )
        val (_, height, width) = model.shape
        val edge = steps.shortestEdge
        val wide = if (edge == null) width else edge(edge, picture.width, picture)
        val high = if (edge == null) height else edge(edge, picture.height, picture)
        if (maxOf(maxOf(picture.width, picture.height), maxOf(wide, high)) > LONGEST) {
            throw TaskException(
                "the picture has ${picture.width} x ${picture.height} pixels, resized $wide x " +
                    "$high, expected edges of at most $LONGEST; cut it or make it smaller"
            )
        }
        val colours = steps.resizing.resized(picture, wide, high)
        val corner = (high - height) / 2 * wide + (wide - width) / 2
        return FloatArray(3 * height * width) {
            val channel = it / (height * width)
            val pixel = corner + it / width % height * wide + it % width
            val value = (colours[3 * pixel + channel].toInt() and 0xff) * steps.factor
            (value.toFloat() - steps.mean[channel]) / steps.std[channel]
        }
    }

    /** What an edge of [length] pixels becomes when the shorter one becomes [shortest]. */
    private fun edge(shortest: Int, length: Int, picture: Picture): Int =
        (shortest.toDouble() * length / minOf(picture.width, picture.height)).toInt()

    private companion object {
        const val LONGEST = 1 shl 14 // pixels of an edge, resized or not
    }
}
