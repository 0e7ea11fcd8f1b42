package io.hydraopt

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

/** The program of an encoder or an image model: one call for each input. */
internal class OneShot(private val bundle: TaskBundle, private val program: Program) {
    private var method = ManifestFormat.FORWARD
    private var factors: Array<EValue> = arrayOf()

    fun use(method: String, factors: Array<EValue>) {
        this.method = method
        this.factors = factors
    }

    /** Runs a text; its logits are the first [classes] if a task has such. */
    fun run(ids: IntArray, model: Model.Encoder, classes: Int?): Output {
        checkIds(ids, model.vocabulary)
        if (ids.size > model.maxLength) {
            throw TaskException(
                "${ids.size} tokens, expected at most ${model.maxLength}; shorten the text or " +
                    "export with more --max-length"
            )
        }
        val tokens = buffer(8 * ids.size).asLongBuffer()
        val mask = buffer(8 * ids.size).asLongBuffer()
        for ((index, id) in ids.withIndex()) {
            tokens.put(index, id.toLong())
            mask.put(index, 1)
        }
        val shape = longArrayOf(1, ids.size.toLong())
        return run(classes, Tensor.fromBlob(tokens, shape), Tensor.fromBlob(mask, shape))
    }

    /** Runs an image's pixel values, float32 `[C, H, W]`. */
    fun run(pixels: FloatArray, model: Model.Image, classes: Int?): Output {
        val expected = model.shape.fold(1L) { product, size -> product * size }
        if (pixels.size.toLong() != expected) {
            throw TaskException(
                "the input has ${pixels.size} pixel values, expected those of an image " +
                    "${model.shape} (channels, height, width), or a Picture"
            )
        }
        val values = buffer(4 * pixels.size).asFloatBuffer()
        for ((index, value) in pixels.withIndex()) values.put(index, value)
        val shape = longArrayOf(1, *model.shape.map { it.toLong() }.toLongArray())
        return run(classes, Tensor.fromBlob(values, shape))
    }

    private fun buffer(bytes: Int) =
        ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    private fun run(classes: Int?, vararg inputs: Tensor): Output {
        val values = inputs.map { EValue.from(it) }.toTypedArray() + factors
        return program.execute(method, values) { output(it[0].toTensor(), classes) }
    }

    private fun output(result: Tensor, classes: Int?): Output {
        val sizes = result.shape().drop(1).map { it.toInt() }
        val columns = sizes.last()
        val kept = classes ?: columns
        if (kept > columns) {
            throw BundleException(
                "${bundle.program} gives $columns logits, expected $kept or more as in " +
                    "manifest.json; export or copy the bundle again"
            )
        }
        val all = result.dataAsFloatArray
        val rows = all.size / columns
        val values = FloatArray(rows * kept) { all[it / kept * columns + it % kept] }
        return Output(values, sizes.dropLast(1) + kept)
    }
}

/** Throws [TaskException] for no ids, and for those outside of the vocabulary. */
internal fun checkIds(ids: IntArray, vocabulary: Int) {
    if (ids.isEmpty()) throw TaskException("the prompt is empty, expected at least one token")
    ids.firstOrNull { it !in 0 until vocabulary }?.let {
        throw TaskException("token id $it is outside the vocabulary of $vocabulary")
    }
}
