package io.hydraopt

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

/** The sequence of tokens in a program's KV cache. */
internal class Sequence(
    private val bundle: TaskBundle,
    private val model: Model.CausalLm,
    private val program: Program
) {
    private var logits = FloatArray(0) // of the program's size, once that is known
    private var cached = IntArray(0) // ids, of which [position] count
    private val step = Piece(1) // used again for every token: no garbage

    private var method = ManifestFormat.FORWARD
    private var factors: Array<EValue> = arrayOf()

    @Volatile
    var position = 0
        private set

    /** Goes on with a method and its factors. */
    fun use(method: String, factors: Array<EValue>) {
        this.method = method
        this.factors = factors
    }

    /** Keeps the first [position] tokens. */
    fun rewind(position: Int) {
        this.position = position
    }

    /** Token ids and positions of one call, int64 `[1, S]` and `[S]`. */
    private class Piece(size: Int) {
        val ids = longs(size)
        val positions = longs(size)
        val values = arrayOf(
            EValue.from(Tensor.fromBlob(ids, longArrayOf(1, size.toLong()))),
            EValue.from(Tensor.fromBlob(positions, longArrayOf(size.toLong())))
        )

        private fun longs(size: Int): LongBuffer =
            ByteBuffer.allocateDirect(8 * size).order(ByteOrder.nativeOrder()).asLongBuffer()
    }

    /** Appends [ids]; returns the logits after the last, or null if [cancelled]. */
    fun append(ids: IntArray, cancelled: () -> Boolean): FloatArray? {
        check(ids)
        val size = model.prefillLength
        for (start in ids.indices step size) {
            if (cancelled()) return null
            forward(ids, start, minOf(start + size, ids.size))
        }
        return logits
    }

    private fun check(ids: IntArray) {
        val most = model.maxLength
        checkIds(ids, model.vocabulary)
        if (position + ids.size > most || ids.size >= most) {
            throw TaskException(
                "${position + ids.size} tokens, expected at most ${most - 1} in a prompt and " +
                    "$most in all; shorten it or export with more --max-length"
            )
        }
    }

    private fun forward(ids: IntArray, start: Int, end: Int) {
        val piece = if (end - start == 1) step else Piece(end - start)
        for (index in 0 until end - start) {
            piece.ids.put(index, ids[start + index].toLong())
            piece.positions.put(index, (position + index).toLong())
        }
        program.execute(method, piece.values + factors) { take(it[0].toTensor()) }
        remember(ids, start, end)
    }

    private fun remember(ids: IntArray, start: Int, end: Int) {
        val size = position + end - start
        if (size > cached.size) cached = cached.copyOf(maxOf(size, 2 * cached.size))
        ids.copyInto(cached, position, start, end)
        position = size
    }

    /** Takes the logits of the last position, float32 `[…, vocabulary]`. */
    private fun take(result: Tensor) {
        val found = result.shape().last()
        if (found != model.vocabulary.toLong()) {
            throw BundleException(
                "${bundle.program} gives $found logits, expected ${model.vocabulary} as in " +
                    "manifest.json; export or copy the bundle again"
            )
        }
        if (logits.isEmpty()) logits = FloatArray(model.vocabulary)
        if (result.numel() == found) {
            result.copyDataInto(FloatBuffer.wrap(logits))
        } else {
            val all = result.dataAsFloatArray
            all.copyInto(logits, 0, all.size - logits.size)
        }
    }

    /**
     * Generates tokens of a new sequence.
     *
     * @param reuse whether to keep those tokens of the KV cache with which [ids] begin.
     * @param stopped polled after every text: whether a stop string came.
     * @param cancelled polled before and after every forward pass.
     * @param emit receives a token, or null at the end, and returns the text that it completes.
     */
    fun generate(
        ids: IntArray,
        options: Options,
        cancelled: () -> Boolean,
        reuse: Boolean = false,
        stopped: () -> Boolean = { false },
        emit: (Int?) -> String
    ): Generation {
        val kept = if (reuse) common(ids) else 0
        rewind(kept)
        val sampler = Sampler(options)
        val text = StringBuilder()
        val found = ArrayList<Int>()
        var prefill = 0L
        var first = 0L
        var last = 0L
        val prompt = ids.copyOfRange(kept, ids.size)
        var following = prompt
        var end: End? = null
        while (end == null) {
            val start = System.nanoTime()
            val logits = append(following, cancelled)
            if (logits == null || cancelled()) {
                end = End.CANCELLED
                break
            }
            if (following === prompt) prefill = System.nanoTime() - start
            val token = sampler.next(logits)
            if (token in model.eosIds) {
                end = End.END_TOKEN
                break
            }
            last = System.nanoTime()
            if (found.isEmpty()) first = last
            found.add(token)
            text.append(emit(token))
            following = intArrayOf(token)
            if (stopped()) {
                end = End.STOP
            } else if (found.size == options.maxNewTokens) {
                end = End.MAX_NEW_TOKENS
            } else if (position == model.maxLength) {
                end = End.CONTEXT
            }
        }
        text.append(emit(null))
        if (stopped()) end = End.STOP
        val steps = maxOf(found.size - 1, 0)
        return Generation("$text", found, prompt.size, end!!, prefill, last - first, steps)
    }

    /** Number of tokens in the cache with which [ids] begin, without the last of them. */
    private fun common(ids: IntArray): Int {
        val most = minOf(position, ids.size - 1)
        return (0 until most).firstOrNull { cached[it] != ids[it] } ?: most
    }
}
