package io.hydraopt

/**
 * What an encoder or an image model makes of an input: float32, row by row.
 *
 * @property values an embedding, or logits of the task's classes; of a token classifier those of
 *   every token, one after the other.
 * @property shape `[d]`, `[classes]`, or `[tokens, classes]` of a token classifier.
 */
class Output internal constructor(val values: FloatArray, val shape: List<Int>) {
    /** A row of a token classifier: the logits of the token at [index]. */
    fun row(index: Int): FloatArray {
        val size = shape.last()
        return values.copyOfRange(index * size, (index + 1) * size)
    }
}
