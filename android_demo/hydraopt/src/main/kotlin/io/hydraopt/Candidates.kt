package io.hydraopt

import kotlin.math.exp

/**
 * The tokens that a draw chooses from, by rising id, and their probabilities.
 *
 * A whole vocabulary competes for every token of a text: it is not sorted, and buffers are used
 * again.
 */
internal class Candidates(val vocabulary: Int) {
    private val scores = FloatArray(vocabulary)
    private val ids = IntArray(vocabulary)
    private val chances = DoubleArray(vocabulary)
    private var count = 0
    private var top = 0f

    /**
     * Chooses the tokens for a temperature above 0.
     *
     * @return the sum of their probabilities, 1 but for rounding; NaN if logits overflow.
     */
    fun choose(logits: FloatArray, options: Options): Double {
        score(logits, options.temperature)
        keepFrom(if (options.topK == null) Float.NEGATIVE_INFINITY else nthLargest(options.topK))
        weigh()
        if (options.topP < 1) {
            keepProbable(options.topP)
            weigh()
        }
        val sum = sum()
        for (place in 0 until count) chances[place] /= sum
        return sum()
    }

    /** The token in whose share of the total [point] lies. */
    fun at(point: Double): Int {
        var left = point
        var last = 0
        for (place in 0 until count) {
            if (chances[place] == 0.0) continue
            last = ids[place]
            left -= chances[place]
            if (left < 0) break
        }
        return last
    }

    /** The distribution `[vocabulary]`. */
    fun probabilities(): DoubleArray {
        val all = DoubleArray(vocabulary)
        for (place in 0 until count) all[ids[place]] = chances[place]
        return all
    }

    private fun score(logits: FloatArray, temperature: Float) {
        var most = Float.NEGATIVE_INFINITY
        for (token in logits.indices) {
            val score = logits[token] / temperature + 0f // -0 and 0 are equal
            scores[token] = score
            if (score > most) most = score
        }
        top = most
    }

    private fun keepFrom(weakest: Float) {
        var kept = 0
        for (token in scores.indices) if (!(scores[token] < weakest)) ids[kept++] = token
        count = kept
    }

    /** The [rank]-th largest score, by a heap of the largest so far, its root the least. */
    private fun nthLargest(rank: Int): Float {
        if (rank >= vocabulary) return Float.NEGATIVE_INFINITY
        val heap = FloatArray(rank) { Float.NEGATIVE_INFINITY }
        for (score in scores) if (score > heap[0]) replaceRoot(heap, score)
        return heap[0]
    }

    private fun replaceRoot(heap: FloatArray, score: Float) {
        var place = 0
        while (true) {
            var child = 2 * place + 1
            if (child + 1 < heap.size && heap[child + 1] < heap[child]) child++
            if (child >= heap.size || heap[child] >= score) break
            heap[place] = heap[child]
            place = child
        }
        heap[place] = score
    }

    private fun weigh() {
        for (place in 0 until count) chances[place] = exp((scores[ids[place]] - top).toDouble())
    }

    private fun sum(): Double {
        var sum = 0.0
        for (place in 0 until count) sum += chances[place]
        return sum
    }

    /**
     * Drops the tail; among equal scores at its end, lower ids first.
     *
     * Probabilities are added up by interval of scores: only the one where the tail ends is sorted.
     */
    private fun keepProbable(share: Float) {
        val enough = share * sum()
        if (enough.isNaN()) return
        val sums = DoubleArray(INTERVALS)
        for (place in 0 until count) sums[interval(place)] += chances[place]
        var above = 0.0
        var last = 0
        while (last < INTERVALS - 1 && above + sums[last] < enough) above += sums[last++]
        val dropped = tail(last, enough - above)
        var kept = 0
        for (place in 0 until count) {
            val interval = interval(place)
            val keeps = interval < last || (interval == last && ranked(place) > dropped)
            if (keeps) ids[kept++] = ids[place]
        }
        count = kept
    }

    private fun interval(place: Int): Int =
        minOf(((top - scores[ids[place]]) * PER_UNIT).toInt(), INTERVALS - 1)

    /** The rank of the best token of an interval that is not needed to have [enough] of it. */
    private fun tail(interval: Int, enough: Double): Long {
        var size = 0
        for (place in 0 until count) if (interval(place) == interval) size++
        val rising = LongArray(size)
        for (place in 0 until count) if (interval(place) == interval) rising[--size] = ranked(place)
        rising.sort()
        var left = enough
        var end = rising.size
        while (end > 0 && left > 0) left -= chance(rising[--end])
        return if (end > 0) rising[end - 1] else Long.MIN_VALUE
    }

    /** A number that rises with a token's score, then with its place in the lower 32 bits. */
    private fun ranked(place: Int): Long {
        val bits = scores[ids[place]].toRawBits()
        val ordered = if (bits < 0) bits xor Int.MAX_VALUE else bits
        return (ordered.toLong() shl 32) or place.toLong()
    }

    private fun chance(ranked: Long) = chances[ranked.toInt()]

    private companion object {
        const val PER_UNIT = 64
        const val INTERVALS = 4096 // further away than e^-64 is nothing
    }
}
